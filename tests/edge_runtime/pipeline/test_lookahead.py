"""Shows that frames seen before their turn change no result and no count, and that what ran beside is timed."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Features
from edge_runtime.models.file import load_model
from edge_runtime.pipeline.assembly import Models, open_recogniser
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.clock import StopFlag
from edge_runtime.pipeline.lookahead import Seen
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import PolicyName, choose
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.sources.base import Frame
from edge_runtime.sources.video import VideoSource
from tests.edge_runtime.pipeline.fakes import FakeRecogniser, FakeSource, Keep, frames, pipeline, slowly
from tests.edge_runtime.streams.small_models import SmallImfe


def seen(frame: Frame) -> Seen:
    return Seen(None, frame.index, ())


def run(video: Path, model: Path, lanes: int) -> Keep:
    """The features of a video, hop 3."""
    times = StageTimes()
    models = Models(load_model(model), None)
    recogniser, _ = open_recogniser(models, observe=times.lap, hop=3, lanes=lanes)
    sink = Keep()
    Pipeline(
        VideoSource(video),
        Lineup({"main": recogniser}),
        [sink],
        chosen=choose("block", live=False, hop=3, clip_length=6),
        times=times,
        monitor=StageMonitor(Budgets.derive(30.0, 3, None), times),
    ).run()
    return sink


def test_a_video_gives_the_same_bits_in_lanes(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (96, 64))
    random = np.random.default_rng(0)
    for _ in range(50):
        writer.write(random.integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    model = SmallImfe.make().save(tmp_path / "imfe.onnx")
    alone, beside = (run(tmp_path / "a.avi", model, lanes) for lanes in (1, 2))

    expected, found = ([e for e in sink.events if isinstance(e, Features)] for sink in (alone, beside))
    assert [(e.frame, e.t, e.features) for e in found] == [(e.frame, e.t, e.features) for e in expected]
    assert len(found) == 15
    assert beside.summary.frames == alone.summary.frames
    for stage in ("capture", "preprocess", "imfe.encoder", "imfe.motion", "imfe.head", "capture_to_result"):
        assert beside.summary.stages[stage]["n"] == alone.summary.stages[stage]["n"], stage


def test_the_start_says_how_many() -> None:
    sink = Keep()
    pipeline(FakeSource(frames(3)), [sink], FakeRecogniser(lookers=[seen, seen])).run()
    assert sink.events[0].lanes == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("policy", ["drop-oldest", "degrade"])
def test_a_camera_has_no_lanes(policy: PolicyName) -> None:
    """Shows that where the newest frame counts none is taken before its turn."""
    recogniser = FakeRecogniser(lookers=[seen, seen])
    pipeline(FakeSource(slowly(5, 0.01), live=True), [Keep()], recogniser, policy=policy).run()
    assert recogniser.seen
    assert recogniser.followed == []


def test_every_frame_is_accounted_for_when_stopped() -> None:
    """Shows it for frames that a lane had in hand."""
    for after in range(1, 12):
        stop = StopFlag()

        def on_step(frame: Frame, stop: StopFlag = stop, after: int = after) -> None:
            if frame.index == after:
                stop.request("signal")

        sink = Keep()
        recogniser = FakeRecogniser(on_step=on_step, lookers=[seen, seen])
        pipeline(FakeSource(frames(1000)), [sink], recogniser, stop=stop).run()
        counts = sink.summary.frames
        assert counts["captured"] == counts["processed"] + sum(counts["dropped"].values())
        assert counts["processed"] == after + 1


def test_a_frame_that_a_lane_refuses_ends_the_run_at_that_frame() -> None:
    def refuse(frame: Frame) -> Seen:
        if frame.index == 7:
            raise InputError("not a picture")
        return seen(frame)

    sink = Keep()
    recogniser = FakeRecogniser(lookers=[refuse, refuse])
    with pytest.raises(InputError, match="not a picture"):
        pipeline(FakeSource(frames(30)), [sink], recogniser).run()
    assert recogniser.seen == list(range(7))
    assert sink.summary.frames["dropped"]["failed"] == 1


def test_a_network_that_takes_over_sees_anew_what_another_saw(tmp_path: Path) -> None:
    model = load_model(SmallImfe.make().save(tmp_path / "imfe.onnx"))
    old, new = (open_recogniser(Models(model, None), observe=lambda _: None, hop=1, lanes=2)[0] for _ in range(2))
    alone = open_recogniser(Models(model, None), observe=lambda _: None, hop=1)[0]
    pictures = np.random.default_rng(0).integers(0, 256, (9, 64, 96, 3), np.uint8)
    for i, picture in enumerate(pictures):
        frame = Frame(picture, i, i / 30, 0)
        by = old if i < 4 else new
        expected, found = alone.step(frame), new.follow(frame, by.lookers[i % 2](frame))
        for a, b in zip(expected, found, strict=True):
            assert a.features is not None
            np.testing.assert_array_equal(a.features, b.features)


def test_lanes_end_with_the_run() -> None:
    before = threading.active_count()
    pipeline(FakeSource(frames(20)), [Keep()], FakeRecogniser(lookers=[seen, seen])).run()
    for thread in threading.enumerate():
        if thread.name == "lane":
            thread.join(5)
    assert threading.active_count() <= before
