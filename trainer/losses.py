"""Losses of frame-wise recognition, as sums: a trial's loss is the sum over its segments, whatever the cut.

The published objective is a mean over the trial, so each term comes here as a sum together with what it must be divided
by, which depends on the labels alone and is known before the first segment runs. Hence the gradient accumulated over
the segments of a trial equals the whole trial's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

IGNORED = -1  # a frame with this label counts in no loss and no metric

Kind = Literal["cross_entropy", "focal", "segmental"]


def rarity(frames: Tensor) -> Tensor:
    """Published class weights: 1 - frequency, from the number of training frames of each class (C,)."""
    return 1.0 - frames.float() / frames.sum().clamp(min=1)


def inverse_root(frames: Tensor) -> Tensor:
    """Class weights ∝ 1/√frequency with mean 1 over the frames: tells rare classes apart where ``rarity`` is flat."""
    weight = frames.float().clamp(min=1).rsqrt()
    return weight * frames.sum() / (weight * frames).sum()


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Which loss, and how much of each term.

    Args:
        kind: ``cross_entropy`` (published, class-weighted), ``focal`` (Lin et al., 2017: easy frames count less),
            ``segmental`` (every true segment counts the same, however short, and every spurious border costs one
            segment: an additive stand-in for F1@k).
        smoothing: weight of the truncated squared difference of neighbouring log-probabilities (published: 0.15).
        focus: exponent of the focal loss.
        border: weight of the spurious borders in the segmental loss.
    """

    kind: Kind = "cross_entropy"
    smoothing: float = 0.15
    focus: float = 2.0
    border: float = 0.5


@dataclass(frozen=True, slots=True)
class TrialLoss:
    """The loss of one trial, evaluated piece by piece.

    Args:
        labels: (L,) int64, the whole trial's; ``IGNORED`` frames count nowhere.
        weights: (C,) class weights.
        settings: the loss.
    """

    labels: Tensor
    weights: Tensor
    settings: LossSettings

    def __call__(self, logits: Tensor, start: int, has_previous: bool) -> Tensor:
        """This piece's part of the trial's loss, a scalar.

        Args:
            logits: (C, n) of the frames ``start`` to ``start + n``; with ``has_previous`` one more in front, frame
                ``start - 1``, which only serves as the neighbour of the first.
            start: where in the trial the piece begins.
            has_previous: whether ``logits`` begins one frame early.
        """
        log_p = logits.float().log_softmax(0)  # in float32 under mixed precision too
        now = log_p[:, 1:] if has_previous else log_p
        stop = start + now.shape[1]
        labels = self.labels[start:stop]
        loss = self._frames(now, labels, start)
        if self.settings.smoothing or self.settings.kind == "segmental":
            first = start if has_previous else start + 1
            here = self.labels[first:stop]
            before = self.labels[first - 1 : stop - 1]
            both = (here != IGNORED) & (before != IGNORED)
            loss = loss + self.settings.smoothing * self._smoothing(log_p, both)
            if self.settings.kind == "segmental":
                loss = loss + self.settings.border * self._borders(log_p, both & (here == before))
        return loss

    def _frames(self, log_p: Tensor, labels: Tensor, start: int) -> Tensor:
        """The part that looks at each frame alone: (C, n), (n,) -> scalar."""
        valid = labels != IGNORED
        target = labels.clamp(min=0)
        log_true = log_p.gather(0, target[None])[0]
        everywhere = self.labels != IGNORED
        if self.settings.kind == "segmental":
            share = self._share()[start : start + len(labels)]  # 1 / length of the frame's true segment
            return (share * -log_true * valid).sum() / self._segment_count()
        weight = self.weights[target] * valid
        total = self.weights[self.labels.clamp(min=0)][everywhere].sum().clamp(min=1e-12)
        if self.settings.kind == "focal":
            weight = weight * (1 - log_true.exp()).pow(self.settings.focus)
        return (weight * -log_true).sum() / total

    def _smoothing(self, log_p: Tensor, both: Tensor) -> Tensor:
        """Truncated mean squared error of neighbouring frames; the earlier frame is taken as given (published)."""
        pairs = ((self.labels[1:] != IGNORED) & (self.labels[:-1] != IGNORED)).sum().clamp(min=1)
        step = log_p[:, 1:] - log_p[:, :-1].detach()
        return (step.square().clamp(max=16.0) * both).sum() / (pairs * log_p.shape[0])

    def _borders(self, log_p: Tensor, inside: Tensor) -> Tensor:
        """Expected number of borders within true segments, per true segment: half the total variation of p."""
        p = log_p.exp()
        return ((p[:, 1:] - p[:, :-1]).abs().sum(0) * inside).sum() / (2 * self._segment_count())

    def _share(self) -> Tensor:
        """1 / length of the true segment that each frame is in, (L,)."""
        number = self._begins().cumsum(0) - 1
        return 1.0 / torch.bincount(number)[number].float()

    def _segment_count(self) -> Tensor:
        return (self._begins() & (self.labels != IGNORED)).sum().clamp(min=1)

    def _begins(self) -> Tensor:
        """Whether a true segment begins at a frame, (L,)."""
        begins = torch.ones_like(self.labels, dtype=torch.bool)
        begins[1:] = self.labels[1:] != self.labels[:-1]
        return begins


def class_weights(frames: Tensor, scheme: Literal["rarity", "inverse_root", "none"]) -> Tensor:
    """Class weights (C,) from the number of training frames of each class."""
    if scheme == "none":
        return torch.ones(len(frames))
    return rarity(frames) if scheme == "rarity" else inverse_root(frames)
