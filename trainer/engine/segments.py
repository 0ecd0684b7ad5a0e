"""The segment trick: a trial of any length in constant memory, with the gradient of the whole trial.

::

    trial    |───────────────────────────────────────────────────|
    piece 0  [outputs ......]
    piece 1          (context)[outputs ......]
    piece 2                           (context)[outputs .........]

A piece's outputs depend on its own frames and on the receptive field before them (and, for networks that look ahead,
after them). Running each piece with that context therefore gives the outputs, and the gradients, of the whole trial;
only the activations of one piece are ever in memory. The context is computed twice: long pieces waste less.

BatchNorm in training mode is the exception: it normalises by the statistics of the piece.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.losses import IGNORED, LossSettings, TrialLoss
from trainer.nets.network import GraphNetwork

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Piece:
    """Outputs ``start`` to ``stop`` of a trial, computed from its frames ``begin`` to ``end``."""

    start: int
    stop: int
    begin: int
    end: int


def cut(length: int, segment: int, before: int, after: int = 0) -> list[Piece]:
    """Cut ``length`` frames into pieces of ``segment`` outputs with ``before`` and ``after`` frames of context."""
    return [
        Piece(start, stop := min(length, start + segment), max(0, start - before), min(length, stop + after))
        for start in range(0, length, segment)
    ]


@dataclass(frozen=True, slots=True)
class Passes:
    """How a network is run over trials.

    Args:
        segment: outputs computed at once; bounds memory.
        every: train on every n-th frame's output only, where the network can skip the others exactly.
        autocast: bfloat16 on the device, or float32.
        device: where the network lives.
    """

    segment: int
    every: int = 1
    autocast: bool = False
    device: torch.device = CPU

    def pieces(self, net: GraphNetwork, length: int) -> list[Piece]:
        """The pieces of a trial of ``length`` frames, in outputs (``every`` frames each)."""
        ahead = net.look_ahead
        # one frame more, so that the smoothing loss finds the neighbour of a piece's first output
        before = -(-(net.receptive_field - ahead) // self.every)
        return cut(length // self.every, max(1, self.segment // self.every), before, ahead)

    def run(self, net: GraphNetwork, features: npt.NDArray[Any], piece: Piece) -> Tensor:
        """Logits (stages, N, classes, outputs) of one piece of ``features`` (N, C, L, V), context included."""
        frames = features[:, :, piece.begin * self.every : piece.end * self.every]
        x = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext():
            logits: Tensor = net(x) if self.every == 1 else net(x, every=self.every)
        return logits if logits.ndim == 4 else logits[None]


def targets(labels: npt.NDArray[np.int64], delay: int, every: int = 1) -> npt.NDArray[np.int64]:
    """Labels (N, L) as the outputs speak of them: held back by ``delay``, the outputs before it ignored."""
    held = np.full_like(labels, IGNORED)
    held[:, delay:] = labels[:, : labels.shape[1] - delay]
    return held[:, every - 1 :: every]


def accumulate(
    net: GraphNetwork,
    features: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    loss: LossSettings,
    weights: Tensor,
    passes: Passes,
    share: float = 1.0,
) -> float:
    """Add the gradient of ``share`` times the loss of some trials of one length; returns the loss (sum over trials).

    Args:
        features: (N, C, L, V) numbers, memory-mapped or not.
        labels: (N, L) class indices, ``IGNORED`` where there is none.
        weights: (classes,) class weights.
        share: what one trial counts: 1 / trials of the global batch.
    """
    wanted = torch.from_numpy(targets(labels, net.delay, passes.every)).to(passes.device)
    losses = [TrialLoss(trial, weights, loss) for trial in wanted]
    total = 0.0
    for piece in passes.pieces(net, labels.shape[1]):
        has_previous = piece.start > 0
        first = piece.start - piece.begin - has_previous
        stages = passes.run(net, features, piece)[..., first : piece.stop - piece.begin]
        value = sum(
            (
                trial(logits, piece.start, has_previous)
                for stage in stages
                for trial, logits in zip(losses, stage, strict=True)
            ),
            start=stages.new_zeros((), dtype=torch.float32),
        )
        (share * value).backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    return total


@torch.no_grad()
def predict(net: GraphNetwork, features: npt.NDArray[Any], passes: Passes) -> npt.NDArray[np.float32]:
    """Logits (classes, L) of each frame of one trial (C, L, V), the last stage's.

    A network with a delay is shown the last frame ``delay`` times more, so that it speaks of every frame.
    """
    length = features.shape[1]
    held = np.concatenate([features, np.repeat(features[:, -1:], net.delay, axis=1)], axis=1) if net.delay else features
    parts = [
        passes.run(net, held[None], piece)[-1, 0, :, piece.start - piece.begin : piece.stop - piece.begin]
        for piece in passes.pieces(net, length + net.delay)
    ]
    return torch.cat(parts, dim=1)[:, net.delay :].float().cpu().numpy()
