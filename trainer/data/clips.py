"""Labelled video clips: finding them, splitting them by source, and decoding each one only once.

A clip belongs to a ``group``: the recording session, person or sequence that must never stand on both sides of a
split. Frames are kept as uint8 at a size of the caller's choice, together with their timestamps, in one ``.npz`` a clip
under a cache folder: decoding costs more than a training step of the tiny network.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sampling import FrameSampler, Rate
from edge_runtime.sources.video import VideoSource

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"})

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled video file; ``group`` is what a split keeps together."""

    path: Path
    label: str
    group: str


@dataclass(frozen=True, slots=True)
class Video:
    """A decoded clip: ``frames`` uint8 RGB (T, H, W, 3), ``times`` float64 (T,) in seconds from the first frame."""

    frames: UInt8Array
    times: npt.NDArray[np.float64]

    @property
    def fps(self) -> float:
        """Mean frame rate; 0 for a single frame."""
        return (len(self.times) - 1) / self.times[-1] if len(self.times) > 1 and self.times[-1] > 0 else 0.0


def find_clips(source: Path, root: Path | None = None) -> list[Clip]:
    """Labelled clips of a folder ``class/clip.mp4`` or of a CSV list ``path,label[,group]``.

    Args:
        source: a folder with one sub-folder a class, or a CSV file with that header.
        root: what the list's paths are relative to; the list's own folder by default.

    Returns:
        Clips sorted by path. Without a group column (and in a folder) each clip is its own group.

    Raises:
        InputError: nothing there, a missing column or file, fewer than two classes, or a class with one clip.
    """
    if source.is_dir():
        clips = [
            Clip(path, path.parent.name, path.stem)
            for path in sorted(source.glob("*/*"))
            if path.suffix.lower() in VIDEO_SUFFIXES
        ]
        if not clips:
            raise InputError(f"{source}: expected class folders with clips in them (wave/clip1.mp4), found none")
    elif source.is_file():
        clips = _read_list(source, root or source.parent)
    else:
        raise InputError(f"{source}: no such folder or CSV list of clips")
    counts = Counter(clip.label for clip in clips)
    if len(counts) < 2:
        raise InputError(f"{source}: expected at least two classes, found {', '.join(counts) or 'none'}")
    for label, count in counts.items():
        if count < 2:
            raise InputError(f"{source}: class '{label}' has one clip; a class needs at least two, one is for checking")
    return clips


def _read_list(path: Path, root: Path) -> list[Clip]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{path}: expected a header 'path,label[,group]', column '{min(missing)}' is missing")
        rows = list(reader)
    clips = []
    for number, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise InputError(f"{path}, line {number}: expected path,label[,group], found an empty field")
        clip = root / row["path"]
        if not clip.is_file():
            raise InputError(f"{path}, line {number}: no such clip {clip}; paths are relative to {root}")
        clips.append(Clip(clip, row["label"], row.get("group") or clip.stem))
    return sorted(clips, key=lambda clip: str(clip.path))


def split_by_group(clips: Iterable[Clip], held_out: Iterable[str]) -> tuple[list[Clip], list[Clip]]:
    """(the rest, the clips of the groups ``held_out``).

    Raises:
        InputError: a group that no clip has.
    """
    clips, held = list(clips), set(held_out)
    unknown = held - {clip.group for clip in clips}
    if unknown:
        known = sorted({clip.group for clip in clips})
        raise InputError(f"no clip of group '{min(unknown)}'; the groups are {', '.join(known)[:200]}")
    return [c for c in clips if c.group not in held], [c for c in clips if c.group in held]


def choose_held_out(clips: Sequence[Clip], share: float, seed: int) -> list[str]:
    """Groups, drawn by ``seed``, that together hold about ``share`` of every class's clips.

    A group is taken while one of its classes still needs clips and none of them would lose its last training clip.
    """
    total = Counter(clip.label for clip in clips)
    wanted = {label: max(1, round(count * share)) for label, count in total.items()}
    groups: dict[str, Counter[str]] = {}
    for clip in clips:
        groups.setdefault(clip.group, Counter())[clip.label] += 1
    order = np.random.default_rng(seed).permutation(sorted(groups))
    taken: Counter[str] = Counter()
    chosen = []
    for group in order:
        counts = groups[str(group)]
        needed = any(taken[label] < wanted[label] for label in counts)
        fits = all(taken[label] + count < total[label] for label, count in counts.items())
        if needed and fits:
            taken += counts
            chosen.append(str(group))
    return sorted(chosen)


def decode(path: Path, height: int, width: int, limit: int | None = None) -> Video:
    """Every frame of a video, or the first ``limit``, stretched to (height, width) as the runtime does it.

    Raises:
        InputError: not a video, or one without frames.
    """
    resize = Preprocessor(height, width)
    frames: list[UInt8Array] = []
    times: list[float] = []
    with VideoSource(path) as source:
        while len(frames) != limit and (frame := source.read()) is not None:
            frames.append(resize(frame.data).copy())
            times.append(frame.t)
    return Video(np.stack(frames), np.asarray(times) - times[0])


def cached(path: Path, height: int, width: int, cache: Path) -> Video:
    """``decode``, remembered in the folder ``cache`` for this file (name, size, time of change) and size."""
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{height}x{width}"
    file = cache / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if file.is_file():
        with np.load(file) as stored:
            return Video(stored["frames"], stored["times"])
    video = decode(path, height, width)
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")  # renamed when whole: an interrupted run leaves no broken cache
    np.savez(partial, frames=video.frames, times=video.times)
    partial.replace(file)
    return video


def load_all(clips: Iterable[Clip], height: int, width: int, cache: Path) -> tuple[list[Clip], list[Video]]:
    """Decode every clip, leaving out (with one line each and a count) those that have no frames."""
    kept, videos, unreadable = [], [], 0
    for clip in clips:
        try:
            videos.append(cached(clip.path, height, width, cache))
        except InputError as error:
            log.warning("left out: %s", error)
            unreadable += 1
        else:
            kept.append(clip)
    if unreadable:
        log.warning("%d unreadable clips left out, %d remain", unreadable, len(kept))
    return kept, videos


def runtime_frames(video: Video, fps: float) -> npt.NDArray[np.intp]:
    """Indices of the frames that the runtime would use for a model of ``fps``."""
    sampler = FrameSampler(Rate.matching(fps, video.fps or None))
    return np.asarray([i for i, t in enumerate(video.times) if sampler.step(float(t)).use], np.intp)
