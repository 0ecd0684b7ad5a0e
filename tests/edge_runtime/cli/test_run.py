"""``edge-run`` as a person uses it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime import __version__
from edge_runtime.sources.camera import list_cameras
from edge_runtime.streams import RtStgcnStream
from tests.edge_runtime.cli.conftest import Inputs, Ran
from tests.edge_runtime.sources.clips import write_timed_video, write_video
from tests.edge_runtime.streams.small_models import SmallLstr

Run = Callable[..., Ran]
Event = dict[str, Any]


def events(text: str) -> list[Event]:
    return [json.loads(line) for line in text.splitlines()]


def named(found: list[Event], kind: str) -> list[Event]:
    return [event for event in found if event["event"] == kind]


def adds_up(frames: Event) -> bool:
    return bool(frames["captured"] == frames["processed"] + sum(frames["dropped"].values()))


# ---- what a run gives


def test_a_video_gives_events_from_start_to_summary(inputs: Inputs, edge_run: Run) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--out", "-")
    found = events(ran.out)
    assert ran.code == 0
    assert [found[0]["event"], found[-1]["event"]] == ["start", "summary"]
    assert [event["frame"] for event in named(found, "result")] == list(range(5, 60, 6))
    summary = found[-1]
    assert summary["frames"] == {"captured": 60, "processed": 60, "dropped": {}}
    assert summary["stages"].keys() >= {"capture", "preprocess", "imfe.encoder", "imfe.motion", "imfe.head", "rtstgcn"}
    assert summary["providers"]["imfe.encoder"] == "cpu"


def test_the_table_goes_to_standard_error(inputs: Inputs, edge_run: Run) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe)
    assert ran.out == ""
    assert "captured 60 = processed 60 + dropped 0" in ran.err
    assert "p50" in ran.err and "imfe.encoder" in ran.err


def test_the_recording_has_every_frame(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--record", tmp_path / "out.mp4")
    assert ran.code == 0
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    count = 0
    while capture.grab():
        count += 1
    assert count == 60


def test_without_a_head_features_are_given(inputs: Inputs, edge_run: Run) -> None:
    found = events(edge_run("--video", inputs.clip, "--model", inputs.imfe, "--head", "none", "--out", "-").out)
    features = named(found, "features")
    assert len(features) == 10
    assert len(features[0]["features"]) == 7


def test_an_lstr_names_actions_in_place_of_the_graph_network(inputs: Inputs, edge_run: Run) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--head", inputs.lstr, "--out", "-")
    found = events(ran.out)
    assert ran.code == 0
    assert [event["frame"] for event in named(found, "result")] == list(range(5, 60, 6))
    assert [event["warm"] for event in named(found, "result")] == [False, False] + [True] * 8
    assert found[-1]["models"]["head"]["kind"] == "lstr"
    assert found[-1]["stages"]["lstr"]["n"] == 10 and "rtstgcn" not in found[-1]["stages"]


def test_an_lstr_beside_the_imfe_is_found(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    for file in (inputs.imfe, inputs.lstr):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    ran = edge_run("--video", inputs.clip, "--model", tmp_path / "imfe.onnx", "--out", "-")
    assert (ran.code, events(ran.out)[-1]["models"]["head"]["kind"]) == (0, "lstr")


def test_a_shorter_hop_gives_more_results(inputs: Inputs, edge_run: Run) -> None:
    found = events(edge_run("--video", inputs.clip, "--model", inputs.imfe, "--hop", "1", "--out", "-").out)
    assert [event["frame"] for event in named(found, "result")] == list(range(5, 60))


def test_frames_are_chosen_by_time_to_match_the_models_rate(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "fast.mp4", 120, fps=60)
    summary = events(edge_run("--video", clip, "--model", inputs.imfe, "--out", "-").out)[-1]
    assert summary["frames"] == {"captured": 120, "processed": 60, "dropped": {"rate": 60}}


@pytest.mark.parametrize(
    ("limit", "reason"), [(("--max-frames", 20), "max-frames"), (("--duration", 0.66), "duration")]
)
def test_a_run_ends_where_it_was_told_to(inputs: Inputs, edge_run: Run, limit: tuple[str, float], reason: str) -> None:
    summary = events(edge_run("--video", inputs.clip, "--model", inputs.imfe, "--out", "-", *limit).out)[-1]
    assert summary["frames"]["captured"] == 20
    assert summary["ended_by"] == reason


def test_a_skeleton_is_recognised_sample_by_sample(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    """Shows that the file's scores are those of the Python API fed by hand."""
    trial = np.random.default_rng(0).standard_normal((3, 25, 5)).astype(np.float32)
    np.save(tmp_path / "trial.npy", trial)
    ran = edge_run("--skeleton", tmp_path / "trial.npy", "--model", inputs.skeleton, "--out", "-")
    results = named(events(ran.out), "result")
    assert [event["frame"] for event in results] == list(range(25))
    with RtStgcnStream(inputs.skeleton) as gcn:
        logits = gcn.steps(trial.transpose(1, 0, 2))
    assert [event["label"] for event in results] == [f"class {best}" for best in logits.argmax(axis=1)]


def test_several_bodies_are_told_apart(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.random.default_rng(0).standard_normal((3, 10, 5, 2)))
    results = named(
        events(edge_run("--skeleton", tmp_path / "two.npy", "--model", inputs.skeleton, "--out", "-").out), "result"
    )
    assert [event["body"] for event in results] == [0, 1] * 10


def test_pictures_of_a_folder_are_a_video(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((48, 64, 3), i * 20, np.uint8))
    found = events(edge_run("--images", tmp_path, "--model", inputs.imfe, "--out", "-").out)
    assert [event["frame"] for event in named(found, "result")] == [5, 11]


# ---- input that is odd, and the run goes on


def test_an_unreadable_picture_in_the_middle_is_a_counted_drop(
    inputs: Inputs, edge_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((48, 64, 3), i * 10, np.uint8))
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "7.jpg").write_bytes(b"this is not a picture")
    (tmp_path / "9.jpg").write_bytes(b"")
    ran = edge_run("--images", tmp_path, "--model", inputs.imfe, "--out", "-")
    summary = events(ran.out)[-1]
    assert ran.code == 0
    assert summary["frames"] == {"captured": 20, "processed": 17, "dropped": {"unreadable": 3}}
    assert "7.jpg" in caplog.text


def test_pictures_of_any_size_and_kind_are_taken(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    """Shows 1x1, 8K, portrait, grey, alpha, 16 bits and a strip, in one run with a recording."""
    folder = tmp_path / "in"
    folder.mkdir()
    odd = [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((4320, 7680, 3), np.uint8),
        np.zeros((640, 360, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.uint16),
        np.zeros((2, 3000, 3), np.uint8),
    ]
    for i, image in enumerate(odd):
        cv2.imwrite(str(folder / f"{i}.png"), image)
    ran = edge_run("--images", folder, "--model", inputs.imfe, "--out", "-", "--record", tmp_path / "out.mp4")
    assert ran.code == 0
    assert events(ran.out)[-1]["frames"] == {"captured": 7, "processed": 7, "dropped": {}}


def test_a_video_cut_short_gives_what_it_has(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", 60, codec="MJPG")
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    ran = edge_run("--video", clip, "--model", inputs.imfe, "--out", "-")
    summary = events(ran.out)[-1]
    assert ran.code == 0
    assert 10 < summary["frames"]["captured"] < 60
    assert adds_up(summary["frames"])
    assert "Traceback" not in ran.err


def test_a_variable_frame_rate_is_taken_by_its_timestamps(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    """Shows ten frames at 60 FPS and six at 10: the first are thinned out, the slow ones all taken."""
    times = [round(i * 1000 / 60) for i in range(10)] + [250 + i * 100 for i in range(6)]
    clip = write_timed_video(tmp_path / "vfr.mkv", times)
    found = events(edge_run("--video", clip, "--model", inputs.imfe, "--out", "-").out)
    frames = found[-1]["frames"]
    assert adds_up(frames)
    assert frames["captured"] == 16
    assert 4 <= frames["dropped"]["rate"] <= 5
    assert named(found, "result")
    assert all(event["t"] == times[event["frame"]] / 1000 for event in named(found, "result"))


def test_nan_in_a_skeleton_is_held_and_never_a_score(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    trial = np.random.default_rng(0).standard_normal((3, 25, 5))
    trial[:, 5:9, 2] = np.nan
    trial[0, 0, 0] = np.inf
    np.save(tmp_path / "trial.npy", trial)
    ran = edge_run("--skeleton", tmp_path / "trial.npy", "--model", inputs.skeleton, "--out", "-")
    assert ran.code == 0
    assert len(named(events(ran.out), "result")) == 25
    assert "NaN" not in ran.out


# ---- input that cannot be used: one line, exit 2, nothing begun

WRONG: dict[str, tuple[list[str], str]] = {
    "no source": ([], "one of the arguments"),
    "two sources": (["--demo", "--video", "{clip}"], "not allowed with"),
    "unknown option": (["--video", "{clip}", "--bogus"], "unrecognized"),
    "no model": (["--video", "{clip}"], "--model is missing"),
    "model missing": (["--video", "{clip}", "--model", "{tmp}/none.onnx"], "no such file"),
    "model is a folder": (["--video", "{clip}", "--model", "{tmp}"], "folder"),
    "model empty": (["--video", "{clip}", "--model", "{tmp}/empty"], "empty"),
    "model is no onnx": (["--video", "{clip}", "--model", "{clip}"], "not an ONNX model"),
    "model truncated": (["--video", "{clip}", "--model", "{tmp}/half.onnx"], "half.onnx"),
    "head is an imfe": (["--video", "{clip}", "--model", "{imfe}", "--head", "{imfe}"], "expected an RT-ST-GCN"),
    "lstr of other features": (
        ["--video", "{clip}", "--model", "{imfe}", "--head", "{tmp}/lstr.onnx"],
        "takes (channels, regions) = (7, 5)",
    ),
    "lstr as the model": (["--video", "{clip}", "--model", "{tmp}/lstr.onnx"], "an LSTR is a head"),
    "hop not offered": (["--video", "{clip}", "--model", "{imfe}", "--hop", "5"], "hop: expected one of"),
    "hop is no number": (["--video", "{clip}", "--model", "{imfe}", "--hop", "x"], "whole number"),
    "a million threads": (
        ["--video", "{clip}", "--model", "{imfe}", "--threads", "1000000"],
        "expected a whole number of 1 to 1024",
    ),
    "no threads": (["--video", "{clip}", "--model", "{imfe}", "--threads", "0"], "whole number"),
    "provider unknown": (["--video", "{clip}", "--model", "{imfe}", "--provider", "abacus"], "expected one of"),
    "video missing": (["--video", "{tmp}/none.mp4", "--model", "{imfe}"], "no such file"),
    "video is no video": (["--video", "{imfe}", "--model", "{imfe}"], "not a video"),
    "video empty": (["--video", "{tmp}/empty", "--model", "{imfe}"], "not a video"),
    "images missing": (["--images", "{tmp}/none", "--model", "{imfe}"], "no such folder"),
    "images empty": (["--images", "{tmp}/void", "--model", "{imfe}"], "no picture"),
    "camera missing": (["--camera", "63", "--model", "{imfe}"], "no such device"),
    "skeleton missing": (["--skeleton", "{tmp}/none.npy", "--model", "{skeleton}"], "no such file"),
    "skeleton of text": (["--skeleton", "{tmp}/text.npy", "--model", "{skeleton}"], "numbers"),
    "skeleton of five dimensions": (["--skeleton", "{tmp}/five.npy", "--model", "{skeleton}"], "(C, L, V)"),
    "skeleton pickled": (["--skeleton", "{tmp}/pickle.npy", "--model", "{skeleton}"], "not a .npy file of numbers"),
    "skeleton to an imfe": (["--skeleton", "{tmp}/ok.npy", "--model", "{imfe}"], "takes pictures"),
    "video to a skeleton model": (["--video", "{clip}", "--model", "{skeleton}"], "takes a skeleton"),
    "out in no folder": (["--video", "{clip}", "--model", "{imfe}", "--out", "{tmp}/no/out"], "cannot write"),
    "record in no folder": (["--video", "{clip}", "--model", "{imfe}", "--record", "{tmp}/no/o.mp4"], "no folder"),
    "record no mp4": (["--video", "{clip}", "--model", "{imfe}", "--record", "{tmp}/o.gif"], ".mp4"),
    "clips of no action": (
        ["--video", "{clip}", "--model", "{imfe}", "--clips", "{tmp}/clips", "--clip-labels", "dance"],
        "no action is called 'dance'",
    ),
    "labels of no clips": (
        ["--video", "{clip}", "--model", "{imfe}", "--clip-labels", "dance"],
        "--clip-labels says which actions --clips DIR keeps",
    ),
    "leave above enter": (["--video", "{clip}", "--model", "{imfe}", "--leave", "0.9"], "leave <= enter"),
    "video with a name too long": (["--video", "a" * 300, "--model", "{imfe}"], "File name too long"),
    "record with a name too long": (
        ["--video", "{clip}", "--model", "{imfe}", "--record", "a" * 300 + "/x.mp4"],
        "File name too long",
    ),
    "budgets missing": (["--video", "{clip}", "--model", "{imfe}", "--budgets", "{tmp}/none.toml"], "budgets file"),
    "deadline negative": (["--video", "{clip}", "--model", "{imfe}", "--deadline-ms", "-1"], "positive"),
    "rate zero": (["--skeleton", "{tmp}/ok.npy", "--model", "{skeleton}", "--rate", "0"], "--rate"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty").touch()
    (folder / "void").mkdir()
    SmallLstr.make(nodes=5).save(folder / "lstr.onnx")
    (folder / "half.onnx").write_bytes(inputs.imfe.read_bytes()[:3000])
    np.save(folder / "text.npy", np.array([["a"]]))
    np.save(folder / "five.npy", np.zeros((1, 3, 4, 5, 1)))
    np.save(folder / "pickle.npy", np.array([{}], object), allow_pickle=True)
    np.save(folder / "ok.npy", np.zeros((3, 4, 5)))
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_one_clear_line(inputs: Inputs, bad_files: Path, edge_run: Run, case: str) -> None:
    arguments, expected = WRONG[case]
    places = {"clip": inputs.clip, "imfe": inputs.imfe, "skeleton": inputs.skeleton, "tmp": bad_files}
    ran = edge_run(*(argument.format(**places) for argument in arguments))
    assert ran.code == 2
    assert expected in ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert ran.out == ""


def test_a_recording_is_never_written_over(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    video = tmp_path / "own.mp4"
    video.write_bytes(inputs.clip.read_bytes())
    (tmp_path / "link.mp4").symlink_to(video)
    for option, path in (("--record", video), ("--record", tmp_path / "link.mp4"), ("--out", video)):
        ran = edge_run("--video", video, "--model", inputs.imfe, option, path)
        assert ran.code == 2 and f"{option} {path}: is what --video reads" in ran.err
    assert video.read_bytes() == inputs.clip.read_bytes()


def test_a_skeleton_with_other_channels_ends_with_its_summary(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.zeros((2, 4, 5)))
    ran = edge_run("--skeleton", tmp_path / "two.npy", "--model", inputs.skeleton, "--out", "-")
    assert ran.code == 2
    assert "(channels, nodes) = (3, 5), found (2, 5)" in ran.err
    assert adds_up(events(ran.out)[-1]["frames"])


def test_a_bad_option_leaves_no_output_behind(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    ran = edge_run(
        *("--video", inputs.clip, "--model", inputs.imfe),
        *("--record", tmp_path / "out.mp4", "--out", tmp_path / "no" / "out.jsonl"),
    )
    assert ran.code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [("--model", "none.onnx"), ("--serve", "0.0.0.0:0"), ("--out", "no/out.jsonl")])
def test_a_run_that_cannot_begin_overwrites_no_recording(
    inputs: Inputs, edge_run: Run, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"the last one")
    model = () if "--model" in wrong else ("--model", inputs.imfe)
    assert edge_run("--video", inputs.clip, *model, "--record", tmp_path / "out.mp4", *wrong).code == 2
    assert (tmp_path / "out.mp4").read_bytes() == b"the last one"


# ---- help


def test_help_has_examples_and_the_version_is_told(edge_run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    for option, expected in (("--help", "edge-run --demo"), ("--version", f"edge-run {__version__}")):
        with pytest.raises(SystemExit, match="0"):
            edge_run(option)
        assert expected in capfd.readouterr().out


@pytest.mark.skipif(not list_cameras(), reason="no camera on this machine")
def test_a_real_camera_gives_results(inputs: Inputs, edge_run: Run) -> None:
    found = events(edge_run("--camera", "0", "--model", inputs.imfe, "--duration", "3", "--out", "-").out)
    assert named(found, "result")
