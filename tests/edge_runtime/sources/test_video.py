"""Shows that a video gives each frame at the moment its container says, and in one line what it cannot give."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.video import VideoSource
from tests.edge_runtime.sources.clips import rotate_tag, write_timed_video, write_video
from tests.recordings import recording


def read_all(path):
    with VideoSource(path) as source:
        frames = []
        while (frame := source.read()) is not None:
            frames.append(frame)
        assert source.read() is None  # and stays at its end
        return source.info, frames


def test_every_frame_comes_once_in_order_with_the_containers_time(tmp_path):
    info, frames = read_all(write_video(tmp_path / "a.mp4", 20, fps=25))
    assert [f.index for f in frames] == list(range(20))
    np.testing.assert_allclose([f.t for f in frames], np.arange(20) / 25, atol=1e-6)
    assert (info.fps, info.width, info.height, info.frames, info.live) == (25, 64, 48, 20, False)
    levels = [int(f.data[-1, -1, 0]) for f in frames]
    assert levels == sorted(levels)
    assert frames[0].data.dtype == np.uint8
    assert frames[0].data.shape == (48, 64, 3)


def test_variable_frame_rate_keeps_its_own_times(tmp_path):
    times_ms = [0, 40, 80, 300, 310, 320, 900, 1000, 1010, 1500]
    _, frames = read_all(write_timed_video(tmp_path / "vfr.mkv", times_ms))
    np.testing.assert_allclose([f.t * 1000 for f in frames], times_ms, atol=1e-6)


def test_times_that_stand_still_or_run_back_go_on_by_one_period(tmp_path):
    _, frames = read_all(write_timed_video(tmp_path / "back.mkv", [0, 40, 80, 80, 60, 200]))
    np.testing.assert_allclose([f.t for f in frames], [0, 0.04, 0.08, 0.12, 0.16, 0.2], atol=1e-6)


def test_a_clip_filmed_on_its_side_comes_upright(tmp_path):
    info, frames = read_all(rotate_tag(write_video(tmp_path / "portrait.mp4", 3)))
    assert (info.width, info.height) == (48, 64)
    assert frames[0].data.shape == (64, 48, 3)
    top_left, top_right = frames[0].data[8, 8, 0], frames[0].data[8, 40, 0]
    assert top_right > 200 > top_left  # the white quarter was at the top left before the turn


@pytest.mark.parametrize("size", [(2, 2), (30, 640), (7680, 4320)])
def test_any_size_is_read(tmp_path, size):
    info, frames = read_all(write_video(tmp_path / "size.avi", 2, size=size, codec="MJPG"))
    assert (info.width, info.height) == size
    assert len(frames) == 2


def test_a_file_that_ends_early_gives_what_there_is_and_says_so_once(tmp_path, caplog):
    path = write_video(tmp_path / "cut.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        info, frames = read_all(path)
    assert 0 < len(frames) < info.frames
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its header promises {info.frames} frames, {len(frames)} decode"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a video"), (b"hello" * 500, "not a video"), (None, "no such file")],
    ids=["empty", "text", "missing"],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, capfd, content, message):
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        VideoSource(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_video_without_a_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "none.mp4", 5)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov")] = bytes(data.index(b"moov") - start)
    path.write_bytes(data)
    with pytest.raises(InputError, match="no frame of it can be decoded"):
        VideoSource(path)


def test_a_folder_is_pointed_to_images(tmp_path):
    with pytest.raises(InputError, match="--images"):
        VideoSource(tmp_path)


def test_a_hundred_mutations_neither_raise_nor_print(tmp_path, capfd):
    original = write_video(tmp_path / "a.mp4", 8).read_bytes()
    path, rng = tmp_path / "mutated.mp4", np.random.default_rng(0)
    opened = 0
    for _ in range(100):
        data = bytearray(original)
        for at in rng.integers(0, len(data), 10):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            _, frames = read_all(path)
        except InputError:
            continue
        opened += 1
        assert all(a.t <= b.t for a, b in pairwise(frames))
    assert 0 < opened < 100
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("pattern", "count", "size"),
    [
        ("videos/ibm_max_sports/baseball.mp4", 167, (640, 360)),  # its header promises 183
        ("videos/golfdb/test_video.mp4", 264, (354, 492)),
        ("videos/tmbo/video3.avi", 185, (320, 240)),  # the last frame's stamp is 0
    ],
)
def test_real_recordings_are_read_to_the_end_with_rising_times(pattern, count, size):
    info, frames = read_all(recording(pattern))
    assert len(frames) == count
    assert (info.width, info.height) == size
    assert (np.diff([f.t for f in frames]) > 0).all()
    assert frames[-1].t < 1.5 * count / info.fps
