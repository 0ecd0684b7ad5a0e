"""A clip of every action, with the seconds before it, in bounded memory and on a bounded part of the disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Segment
from edge_runtime.sinks import clips
from edge_runtime.sinks.clips import FPS, MEMORY_S, PRE_ROLL_S, Clips
from edge_runtime.sources.base import Frame, SourceInfo

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
INFO = SourceInfo("test", "image", True, 30.0)


def show(sink: Clips, seconds: float, start: float = 0.0, fps: float = 30.0) -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    for index in range(round(seconds * fps)):
        t = start + index / fps
        sink.show(Frame(image, index, t, 0), image)


def length_s(path: Path) -> float:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    return count / FPS


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_a_clip_begins_before_the_action_and_plays_at_its_speed(tmp_path: Path, fps: float) -> None:
    sink = Clips(tmp_path, INFO, now=lambda: NOON)
    show(sink, 10, fps=fps)
    sink.emit(Segment("kick", 6.0, 9.0, 0.9))
    (clip,) = tmp_path.iterdir()
    assert clip.name == "20261125T120000Z-kick-6.0s.mp4"
    assert length_s(clip) == pytest.approx(10 - (6 - PRE_ROLL_S), abs=0.3)


def test_only_the_chosen_actions_are_kept(tmp_path: Path) -> None:
    sink = Clips(tmp_path, INFO, ["kick"], now=lambda: NOON)
    show(sink, 5)
    sink.emit(Segment("hug", 1.0, 2.0, 0.9))
    assert list(tmp_path.iterdir()) == []
    sink.emit(Segment("kick", 3.0, 4.0, 0.9))
    assert len(list(tmp_path.iterdir())) == 1


def test_of_a_long_action_the_end_is_kept(tmp_path: Path) -> None:
    sink = Clips(tmp_path, INFO, now=lambda: NOON)
    show(sink, MEMORY_S + 20, fps=2)
    sink.emit(Segment("hug", 1.0, MEMORY_S + 19, 0.9))
    (clip,) = tmp_path.iterdir()
    assert length_s(clip) == pytest.approx(MEMORY_S, abs=1)


def test_old_clips_make_room_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "KEPT", 3)
    (tmp_path / "01 birthday.mp4").touch()  # somebody else's
    moments = iter(NOON + timedelta(minutes=i) for i in range(9))
    sink = Clips(tmp_path, INFO, now=lambda: next(moments))
    show(sink, 2)
    for _ in range(5):
        sink.emit(Segment("kick", 0.5, 1.5, 0.9))
    theirs, *ours = sorted(tmp_path.iterdir())
    assert theirs.name == "01 birthday.mp4"
    assert [path.name[9:13] for path in ours] == ["1202", "1203", "1204"]


def test_a_label_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    sink = Clips(tmp_path / "clips", INFO, now=lambda: NOON)
    show(sink, 1)
    sink.emit(Segment("../../etc/passwd ü", 0.0, 1.0, 0.9))
    (clip,) = (tmp_path / "clips").iterdir()
    assert clip.name == "20261125T120000Z-_etc_passwd_-0.0s.mp4"


@pytest.mark.parametrize("content", ["image", "skeleton"])
def test_what_cannot_be_kept_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--clips"):
        Clips(tmp_path / "file", SourceInfo("test", content, True, 30.0))  # type: ignore[arg-type]
