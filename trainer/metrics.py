"""How well an action segmentation agrees with the truth, under the published definitions.

Two definitions of F1@k are in use and give different numbers; both are here and named apart:

``f1@k``         RT-ST-GCN's: IoU strictly above k, one F1 a trial, then the mean over trials (an undefined one is 0).
``pooled_f1@k``  MS-GCN's and MS-TCN's: IoU at least k, hits and misses pooled over all trials, then one F1.

In both a predicted segment belongs to the true segment of its class that it overlaps most; a true segment can be
found once, so that every further fragment is a false positive. Scores are fractions (0 to 1), times are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.floating[Any]]

THRESHOLDS = (0.1, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Segments:
    """Runs of equal labels: run ``i`` is ``label[i]`` on the frames ``start[i]`` to ``stop[i]`` (exclusive)."""

    label: IntArray
    start: IntArray
    stop: IntArray

    def __len__(self) -> int:
        return len(self.label)


def segments(labels: IntArray) -> Segments:
    """Cut a label a frame (L,) into runs."""
    if len(labels) == 0:
        empty = np.zeros(0, dtype=np.int64)
        return Segments(labels, empty, empty)
    start = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1])
    return Segments(labels[start], start, np.append(start[1:], len(labels)))


@dataclass(frozen=True, slots=True)
class Counts:
    """Predicted segments that hit, predicted segments that do not, true segments that none has hit."""

    hit: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.hit + other.hit, self.false + other.false, self.missed + other.missed)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where there is nothing to count."""
        total = 2 * self.hit + self.false + self.missed
        return 2 * self.hit / total if total else 0.0


def segment_counts(predicted: IntArray, truth: IntArray, threshold: float, strictly: bool) -> Counts:
    """Count the segments of one trial whose IoU with the truth reaches ``threshold``.

    Args:
        predicted, truth: a label a frame, (L,) each.
        strictly: IoU must exceed the threshold (published) instead of reaching it (MS-GCN).
    """
    p, t = segments(predicted), segments(truth)
    if not len(p) or not len(t):
        return Counts(0, len(p), len(t))
    overlap = np.minimum(p.stop[:, None], t.stop) - np.maximum(p.start[:, None], t.start)
    hull = np.maximum(p.stop[:, None], t.stop) - np.minimum(p.start[:, None], t.start)
    iou = np.where(p.label[:, None] == t.label, overlap.clip(min=0) / hull, 0.0)
    best = iou.argmax(1)
    reached = iou[np.arange(len(p)), best]
    good = reached > threshold if strictly else reached >= threshold
    hits = len(np.unique(best[good]))
    return Counts(hits, len(p) - hits, len(t) - hits)


def edit_score(predicted: IntArray, truth: IntArray) -> float:
    """1 - Levenshtein distance of the two orders of actions / length of the longer; durations do not matter."""
    p, t = segments(predicted).label, segments(truth).label
    if not len(p) and not len(t):
        return 1.0
    row = np.arange(len(t) + 1)
    for i, label in enumerate(p, start=1):
        substituted = row[:-1] + (t != label)
        candidates = np.minimum(substituted, row[1:] + 1)
        # insertions run along the row: the minimum of candidate[k] + (j - k) over k <= j
        steps = np.arange(len(t) + 1)
        row = np.minimum.accumulate(np.concatenate([[i], candidates]) - steps) + steps
    return 1.0 - float(row[-1]) / max(len(p), len(t))


def average_precision(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> float:
    """Area under precision over recall when frames are ranked by ``scores`` (n,); equal scores count as one rank.

    NaN when no frame is positive: the class then says nothing about the network.
    """
    total = int(positive.sum())
    if total == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # last frame of each group of equal scores
    precision = found[last] / (last + 1)
    recall = found[last] / total
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def detection_delays(predicted: IntArray, truth: IntArray) -> npt.NDArray[np.float64]:
    """Frames from the start of each true segment until its label is first predicted within it; inf where never."""
    t = segments(truth)
    delays = np.full(len(t), np.inf)
    for i, (label, start, stop) in enumerate(zip(t.label, t.start, t.stop, strict=True)):
        named = np.flatnonzero(predicted[start:stop] == label)
        if len(named):
            delays[i] = named[0]
    return delays


@dataclass(slots=True)
class Scores:
    """Collects trials and reports every metric over them.

    Args:
        classes: number of classes.
        fps: frames a second, for times; without it delays are in frames.
        thresholds: IoU thresholds of F1.
        delay: frames that the network lets pass before it speaks of one; its user waits for them too.
    """

    classes: int
    fps: float | None = None
    thresholds: Sequence[float] = THRESHOLDS
    delay: int = 0
    _confusion: IntArray = field(init=False)
    _top5: int = 0
    _edits: list[float] = field(default_factory=list)
    _strict: dict[float, list[Counts]] = field(init=False)
    _pooled: dict[float, Counts] = field(init=False)
    _delays: list[FloatArray] = field(default_factory=list)
    _scores: list[FloatArray] = field(default_factory=list)
    _truths: list[IntArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._confusion = np.zeros((self.classes, self.classes), dtype=np.int64)
        self._strict = {threshold: [] for threshold in self.thresholds}
        self._pooled = {threshold: Counts() for threshold in self.thresholds}

    def add(self, scores: FloatArray, truth: IntArray) -> None:
        """Count one trial: ``scores`` (classes, L), higher is likelier, and its true labels (L,)."""
        predicted = scores.argmax(0)
        np.add.at(self._confusion, (truth, predicted), 1)
        rank = (scores > scores[truth, np.arange(len(truth))]).sum(0)  # classes that are likelier than the true one
        self._top5 += int((rank < 5).sum())
        self._edits.append(edit_score(predicted, truth))
        for threshold in self.thresholds:
            self._strict[threshold].append(segment_counts(predicted, truth, threshold, strictly=True))
            self._pooled[threshold] += segment_counts(predicted, truth, threshold, strictly=False)
        self._delays.append((detection_delays(predicted, truth) + self.delay) / (self.fps or 1.0))
        self._scores.append(scores.astype(np.float32))
        self._truths.append(truth)

    def merge(self, other: Scores) -> None:
        """Add the trials that ``other`` has collected."""
        self._confusion += other._confusion
        self._top5 += other._top5
        self._edits += other._edits
        for threshold in self.thresholds:
            self._strict[threshold] += other._strict[threshold]
            self._pooled[threshold] += other._pooled[threshold]
        self._delays += other._delays
        self._scores += other._scores
        self._truths += other._truths

    @property
    def confusion(self) -> IntArray:
        """Frames by (true class, predicted class)."""
        return self._confusion

    def result(self) -> dict[str, float]:
        """Every metric by name.

        ``time_to_detection`` is the median over the true segments that are named at all, in seconds (frames without
        ``fps``), the network's own delay included; ``detected`` is the fraction that are.
        """
        frames = int(self._confusion.sum())
        if frames == 0:
            raise ValueError("no trial was added")
        delays = np.concatenate(self._delays)
        named = delays[np.isfinite(delays)]
        scores, truth = np.concatenate(self._scores, axis=1), np.concatenate(self._truths)
        precisions = [average_precision(scores[c], truth == c) for c in range(self.classes) if (truth == c).any()]
        report = {
            "accuracy": float(np.trace(self._confusion)) / frames,
            "top5": self._top5 / frames,
            "edit": float(np.mean(self._edits)),
        }
        for threshold in self.thresholds:
            report[f"f1@{round(threshold * 100)}"] = float(np.mean([c.f1 for c in self._strict[threshold]]))
        for threshold in self.thresholds:
            report[f"pooled_f1@{round(threshold * 100)}"] = self._pooled[threshold].f1
        report["map"] = float(np.mean(precisions))
        report["time_to_detection"] = float(np.median(named)) if len(named) else float("nan")
        report["detected"] = len(named) / len(delays)
        return report
