"""Shows which source each option means, and that options which mean none are refused."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.open import add_source_options, check_source_options, open_source
from edge_runtime.sources.skeleton import SkeletonSource
from edge_runtime.sources.video import VideoSource
from tests.edge_runtime.sources.clips import write_video


def parse(*arguments):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_source_options(parser)
    return parser.parse_args([str(item) for item in arguments])


def test_each_option_opens_its_source(tmp_path):
    write_video(tmp_path / "a.mp4", 2)
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures/a.png"), np.zeros((4, 4, 3), np.uint8))
    for option, name, kind in (
        ("--video", "a.mp4", VideoSource),
        ("--images", "pictures", ImagesSource),
        ("--skeleton", "a.npy", SkeletonSource),
    ):
        with open_source(parse(option, tmp_path / name), 30.0) as source:
            assert isinstance(source, kind)
            assert source.read() is not None


def test_the_rate_is_the_models_unless_given(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    assert open_source(parse("--skeleton", tmp_path / "a.npy"), 60.0).info.fps == 60
    assert open_source(parse("--skeleton", tmp_path / "a.npy", "--rate", 100), 60.0).info.fps == 100


@pytest.mark.parametrize("arguments", [(), ("--video", "a", "--camera", "0"), ("--camera", "0", "--size", "640")])
def test_none_two_or_malformed_options_are_refused(arguments):
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(*arguments)


@pytest.mark.parametrize("rate", [0, -5, "nan", "inf"])
def test_a_rate_that_is_no_rate_is_refused(tmp_path, rate):
    with pytest.raises(InputError, match="--rate: expected"):
        check_source_options(parse("--images", tmp_path, "--rate", rate))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--demo", "--rate", 15), "--rate does nothing with this source; it is for --images, --skeleton"),
        (("--video", "a.mp4", "--size", "640x480"), "--size .* for --camera"),
        (("--rtsp", "rtsp://h", "--fps", 5), "--fps .* for --camera"),
        (("--skeleton", "a.npy", "--give-up-after", 5), "--give-up-after .* for --camera, --rtsp, --gstreamer"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        check_source_options(parse(*arguments))


def test_a_size_is_width_by_height():
    assert parse("--camera", "0", "--size", "1280x720").size == (1280, 720)


def test_live_sources_come_supervised_and_are_refused_when_they_cannot_be():
    for arguments, message in (
        (("--camera", "97"), "no such device"),
        (("--camera", "picamera:x"), "picamera:N"),
        (("--rtsp", "camera.local"), "expected rtsp"),
        (("--gstreamer", "videotestsrc"), "gstreamer"),
    ):
        with pytest.raises(InputError, match=message):
            open_source(parse(*arguments), 30.0)


def test_the_cameras_are_listed_without_naming_a_source(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--list-cameras")
    assert ended.value.code in (0, None)
    assert "camera" in capsys.readouterr().out  # one, or that there is none


def test_the_demo_needs_nothing():
    with open_source(parse("--demo"), 30.0) as source:
        assert source.read().data.shape == (480, 640, 3)
