"""IMFE and its head as one network that is trained the way it will run: along a stream, from zero state.

::

    clip (T frames) ──► fmap a frame ──► pair a frame ──► motion, head every hop ──► regions ──► head ──► logits
                                                               │
                                                               └──► optical flow of the clip's pairs (training only)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.imfe import Imfe
from trainer.nets.lstr import Lstr
from trainer.nets.rtstgcn import RtStgcn

Head = RtStgcn | Lstr
"""What names actions from regions (N, D, L, V): logits (N, classes, L)."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the network says of a batch of clips.

    Attributes:
        logits: (B, L, classes), padded at the end of the shorter clips.
        valid: bool (B, L), False where padded.
        flow: (windows, pairs, 2, h, w) predicted flow of every window, in the scale of ``flow_target``; None if not
            asked for.
    """

    logits: Tensor
    valid: Tensor
    flow: Tensor | None

    @property
    def scores(self) -> Tensor:
        """Mean of the results' probabilities, (B, classes): what ``edge-run``'s result lines add up to."""
        p = self.logits.softmax(-1) * self.valid[..., None]
        return p.sum(1) / self.valid.sum(1, keepdim=True)


class ClipNet(nn.Module):
    """What is trained on labelled clips: called with uint8 RGB clips (T, H, W, 3), it gives a :class:`Recognition`."""

    def __init__(self, labels: Sequence[str], background: str | None, fps: float) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.background = background
        self.fps = fps  # of the clips


class Recogniser(ClipNet):
    """``imfe`` every ``hop`` frames, ``head`` over its regions."""

    def __init__(self, imfe: Imfe, head: Head, hop: int) -> None:
        super().__init__(head.config.labels, head.config.background, imfe.config.fps)
        self.imfe = imfe
        self.head = head
        self.hop = hop
        self.flow_readout = nn.Conv2d(imfe.config.motion[2], 2 * (imfe.config.clip_length - 1), 1)

    def windows(self, frames: int) -> int:
        """Results that a clip of so many frames gives."""
        return max(0, (frames - self.imfe.config.clip_length) // self.hop + 1)

    def forward(self, clips: Sequence[Tensor], with_flow: bool = False) -> Recognition:
        """uint8 RGB clips (T, H, W, 3), each of its own length of at least the clip length."""
        regions, flow = self.regions(clips, with_flow)
        return recognise(self.head, regions, [self.windows(len(clip)) for clip in clips], flow)

    def regions(self, clips: Sequence[Tensor], with_flow: bool = False) -> tuple[Tensor, Tensor | None]:
        """Regions (windows, D, V) of all clips one after the other, and the flow read from the motion encoder."""
        imfe, length = self.imfe, self.imfe.config.clip_length
        frames = imfe.normalise(torch.cat(list(clips)))
        # channels last: a third less time for the encoder on a CPU (measured, tiny)
        fmaps = imfe.encode(frames.contiguous(memory_format=torch.channels_last))
        # the pairs that straddle two clips are computed along and never used: cheaper than a loop over the clips
        pairs = imfe.pair(fmaps[:-1], fmaps[1:])  # (frames-1, P, h, w)
        starts: list[int] = []
        first = 0
        for clip in clips:
            starts += range(first, first + self.windows(len(clip)) * self.hop, self.hop)
            first += len(clip)
        index = torch.tensor(starts, device=pairs.device)[:, None] + torch.arange(length - 1, device=pairs.device)
        motion = imfe.motion_encoder(pairs[index].flatten(1, 2))
        appearance = None
        if imfe.config.appearance:
            central = frames[[start + imfe.config.central for start in starts]]
            appearance = imfe.appear(central.contiguous(memory_format=torch.channels_last))
        last = imfe.describe(motion, appearance)
        flow = None
        if with_flow:
            flow = self.flow_readout(motion).unflatten(1, (length - 1, 2))
        return last @ imfe.region_pool, flow


class HeadAlone(ClipNet):
    """A head without its IMFE: called with the regions (L, D, V) that the IMFE gave of each clip."""

    def __init__(self, head: Head) -> None:
        super().__init__(head.config.labels, head.config.background, head.config.fps)
        self.head = head

    def forward(self, clips: Sequence[Tensor]) -> Recognition:
        return recognise(self.head, torch.cat(list(clips)).float(), [len(clip) for clip in clips])


def recognise(head: Head, regions: Tensor, lengths: Sequence[int], flow: Tensor | None = None) -> Recognition:
    """Regions (sum of lengths, D, V) of all clips one after the other -> what the head makes of each."""
    trials, valid = padded(regions, lengths)  # (B, L, D, V)
    logits = head(trials.transpose(1, 2)).transpose(1, 2)  # (B, L, classes); causal: padding reaches no one
    return Recognition(logits, valid, flow)


def padded(results: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Results of all clips one after the other (sum of lengths, ...) -> (B, L, ...), and which are real (B, L)."""
    trials = nn.utils.rnn.pad_sequence(list(torch.split(results, list(lengths))), batch_first=True)
    steps = torch.arange(trials.shape[1], device=trials.device)
    return trials, steps < torch.tensor(lengths, device=trials.device)[:, None]


def flow_target(flows: Sequence[Tensor], clip_length: int, hop: int) -> Tensor:
    """Grid flow of each clip (T-1, 2, h, w) -> that of its windows (windows, pairs, 2, h, w), compressed.

    ``asinh`` keeps a walker's twentieth of a cell a frame and a swung arm's whole cell in one range.
    """
    windows = [flow.unfold(0, clip_length - 1, hop).movedim(-1, 1) for flow in flows]
    return torch.asinh(torch.cat(windows) * 20)


def flow_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean error, moving cells weighing more: most of a picture stands still."""
    weight = 1 + target.abs().sum(2, keepdim=True)
    error = F.smooth_l1_loss(predicted, target, reduction="none")
    return (error * weight).mean() / weight.mean()


def clip_loss(recognition: Recognition, labels: Tensor, weights: Tensor, smoothing: float, each: float) -> Tensor:
    """Cross-entropy of a clip's mean probability (the rule it is scored by), plus ``each`` times that of its results.

    The first half of a clip often shows only two people walking up, so the single results count from the middle on.

    Args:
        labels: (B,) class numbers.
        weights: (classes,) of the classes.
        smoothing: label smoothing.
        each: weight of the single results.
    """
    _, L, K = recognition.logits.shape
    target = F.one_hot(labels, K) * (1 - smoothing) + smoothing / K  # (B, K)
    weight = weights[labels]
    pooled = -(target * recognition.scores.clamp(min=1e-6).log()).sum(-1)
    late = torch.arange(L, device=labels.device) >= recognition.valid.sum(1, keepdim=True) // 2
    late = late & recognition.valid
    single = -(target[:, None] * recognition.logits.log_softmax(-1)).sum(-1)  # (B, L)
    single = (single * late).sum(1) / late.sum(1)
    return ((pooled + each * single) * weight).sum() / weight.sum()
