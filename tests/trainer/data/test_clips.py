"""Labelled clips: found, split without a group on both sides, decoded once, and refused in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from trainer.data.clips import (
    Clip,
    Video,
    cached,
    choose_held_out,
    decode,
    find_clips,
    load_all,
    runtime_frames,
    split_by_group,
)


def write_clip(path: Path, frames: int = 12, fps: float = 30.0, size: tuple[int, int] = (48, 32)) -> Path:
    """A video whose frame i has brightness 5 * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), 5 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("wave", "jump"):
        for i in range(3):
            write_clip(tmp_path / "clips" / label / f"{label}{i}.avi")
    return tmp_path / "clips"


def test_a_folder_of_class_folders_is_a_data_set(folder: Path) -> None:
    clips = find_clips(folder)
    assert [clip.label for clip in clips] == ["jump"] * 3 + ["wave"] * 3
    assert len({clip.group for clip in clips}) == 6


def test_a_list_names_labels_and_groups(folder: Path) -> None:
    rows = [f"{p.relative_to(folder)},{p.parent.name},person{p.stem[-1]}" for p in folder.glob("*/*.avi")]
    (folder / "list.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n")
    clips = find_clips(folder / "list.csv")
    assert {clip.group for clip in clips} == {"person0", "person1", "person2"}
    rest, held = split_by_group(clips, ["person1"])
    assert {c.group for c in held} == {"person1"} and "person1" not in {c.group for c in rest}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,class\na.avi,wave\n", "column 'label' is missing"),
        ("path,label\nnowhere.avi,wave\n", "line 2: no such clip"),
        ("path,label\n,wave\n", "line 2: expected path,label"),
    ],
)
def test_a_bad_list_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        find_clips(tmp_path / "list.csv")


def test_a_class_with_one_clip_is_refused(folder: Path) -> None:
    write_clip(folder / "sit" / "only.avi")
    with pytest.raises(InputError, match="class 'sit' has one clip"):
        find_clips(folder)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_clips(tmp_path / "missing")
    with pytest.raises(InputError, match="found none"):
        find_clips(tmp_path)
    with pytest.raises(InputError, match="no clip of group 'x'"):
        split_by_group([Clip(tmp_path, "wave", "a")], ["x"])


def test_a_share_is_held_out_of_every_class_and_leaves_some_of_it() -> None:
    clips = [Clip(Path(f"{label}{i}"), label, f"p{i % 5}") for label in ("wave", "jump", "sit") for i in range(10)]
    chosen = choose_held_out(clips, 0.2, seed=3)
    rest, held = split_by_group(clips, chosen)
    for label in ("wave", "jump", "sit"):
        assert sum(c.label == label for c in held) == 2
        assert sum(c.label == label for c in rest) == 8
    assert chosen == choose_held_out(clips, 0.2, seed=3)


def test_a_clip_is_decoded_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = folder / "wave" / "wave0.avi"
    first = cached(clip, 16, 24, tmp_path / "cache")
    monkeypatch.setattr("trainer.data.clips.decode", lambda *_: pytest.fail("decoded again"))
    again = cached(clip, 16, 24, tmp_path / "cache")
    assert first.frames.shape == (12, 16, 24, 3)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.times, again.times)


def test_unreadable_clips_are_left_out_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "wave" / "broken.avi").write_bytes(b"not a video")
    with caplog.at_level(logging.WARNING):
        kept, videos = load_all(find_clips(folder), 16, 24, folder.parent / "cache")
    assert len(kept) == len(videos) == 6
    assert "broken.avi" in caplog.text and "1 unreadable clips left out, 6 remain" in caplog.text


def test_frames_are_chosen_as_the_runtime_does(tmp_path: Path) -> None:
    video = decode(write_clip(tmp_path / "a.avi", frames=31, fps=30.0), 16, 24)
    np.testing.assert_array_equal(runtime_frames(video, 10.0), np.arange(0, 31, 3))
    slow = Video(np.zeros((20, 16, 24, 3), np.uint8), np.arange(20) / 20)
    np.testing.assert_array_equal(runtime_frames(slow, 10.0), np.arange(0, 20, 2))


def test_only_as_much_is_decoded_as_is_asked_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.avi", frames=31, fps=30.0)
    first, whole = decode(clip, 16, 24, limit=7), decode(clip, 16, 24)
    np.testing.assert_array_equal(first.frames, whole.frames[:7])
    assert len(decode(clip, 16, 24, limit=99).frames) == 31
