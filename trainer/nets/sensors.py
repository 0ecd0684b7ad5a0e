"""What a graph network sees of body-worn sensors: streams made from raw acceleration and rate of turn, frame by frame.

Raw values mislead a network twice. Gyroscopes of the same recording may differ tenfold in gain (half of HuGaDB's
trials); so each rate of turn is given squashed at two scales and as a logarithm. And riding a lift differs from
standing by 0.05 to 0.1 g for a second at its start and again at its end, less than two accelerometers at rest differ
from each other; so each sensor's own rest level is measured and taken off, what is left is averaged over the body, of
which a lift moves all parts alike, and summed up over time: the speed gained, positive while going up. A sum over ten
seconds of a rest level wrong by 0.003 g would be as large; so what is that small counts for nothing.

::

    acceleration a (g), rate of turn r ──► m = |a| - 1
    calm   = exp(-(12 m)²)                          1 while the sensor is about as heavy as at rest
    rest   = Σ calm·m / (Σ calm + 2)                over the last ``rest_frames`` frames, exact from the first frame
    excess = m - rest                               what a lift adds: 0.05 to 0.1
    trust  = exp(-(3|r|)² - (4 excess)²)            1 while the sensor neither turns nor is jerked
    rise   = Σ_nodes trust·excess / (Σ_nodes trust + 1)
    lift   = rise·(1 - exp(-(50 rise)²))            one for the body
    streams: lift_gain·lift, Σ lift over each of the ``lift_windows``,
             a, tanh r, tanh r/8, 4 m, log(1 + 10|m|), log(1 + 10|r|)/2

The sums are memories like a layer's: the exported graph keeps them as its first layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_runtime.errors import InputError
from trainer.nets.layers import sliding_sum

RAW_CHANNELS = 6  # acceleration x y z, rate of turn x y z
REST_SUMS = 2  # Σ calm·m and Σ calm
OTHER_STREAMS = 15  # streams beside the lift windows'
PRIOR_FRAMES = 2.0  # weight of "the rest level is 1 g" against measured frames


@dataclass(frozen=True, slots=True)
class SensorConfig:
    """Units of the raw values, and the memory of the rest level.

    Args:
        gravity: raw acceleration that means 1 g.
        turn: raw rate of turn of a brisk movement (HuGaDB: 2000, that is 122 degrees a second).
        rest_frames: frames over which the rest level is measured.
        lift_gain: how much the first stream is amplified: a lift should stand out beside gravity's 1.
        lift_windows: frames over which its acceleration is summed up, one stream each.
    """

    gravity: float
    turn: float
    rest_frames: int
    lift_gain: float = 1.0
    lift_windows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.gravity <= 0 or self.turn <= 0 or min((self.rest_frames, *self.lift_windows)) < 1:
            raise InputError(f"sensors: gravity, turn, rest_frames and lift_windows should be positive, found {self}")

    @property
    def streams(self) -> int:
        """Channels of a node's streams."""
        return OTHER_STREAMS + len(self.lift_windows)

    @property
    def lifts(self) -> slice:
        """Which streams are the sums over the lift windows; they are the same for each node."""
        return slice(1, 1 + len(self.lift_windows))

    @property
    def memories(self) -> tuple[tuple[int, int], ...]:
        """Channels and frames of each sum that is kept."""
        return (REST_SUMS, self.rest_frames), *((1, window) for window in self.lift_windows)


class SensorStreams(nn.Module):
    """Raw frames (N, L, V, 6) -> streams (N, L, V, ``config.streams``); no parameters."""

    def __init__(self, config: SensorConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Whole trials."""
        return self.streams(x, lambda entering, memory: sliding_sum(entering, self.config.memories[memory][1], 1))

    def raw_units(self) -> Tensor:
        """Raw values of an ordinary movement, (6,)."""
        return torch.tensor([self.config.gravity] * 3 + [self.config.turn] * 3)

    def streams(self, x: Tensor, windowed: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Raw frames (..., V, 6) -> (..., V, streams).

        Args:
            windowed: lets values (..., V, channels) enter memory ``i`` and gives the sums at their time.
        """
        weight = self._weight(x)
        turn = x[..., 3:] / self.config.turn
        calm = torch.exp(-((12 * weight) ** 2))
        sums = windowed(torch.cat([calm * weight, calm], dim=-1), 0)
        lift = self._lift(weight - sums[..., :1] / (sums[..., 1:] + PRIOR_FRAMES), turn)
        parts = [
            self.config.lift_gain * lift,
            *(windowed(lift, 1 + i) for i in range(len(self.config.lift_windows))),
            x[..., :3] / self.config.gravity,
            torch.tanh(turn),
            torch.tanh(turn / 8),
            4 * weight,
            torch.log(1 + 10 * weight.abs()),
            torch.log(1 + 10 * turn.abs()) / 2,
        ]
        return torch.cat(parts, dim=-1)

    def _lift(self, excess: Tensor, turn: Tensor) -> Tensor:
        """What is added to the whole body's weight (g), the same for each node, (..., V, 1)."""
        trust = torch.exp(-((3 * turn) ** 2).sum(-1, keepdim=True) - (4 * excess) ** 2)
        rise = (trust * excess).sum(-2, keepdim=True) / (trust.sum(-2, keepdim=True) + 1)
        return (rise * (1 - torch.exp(-((50 * rise) ** 2)))).expand_as(excess)

    def _weight(self, x: Tensor) -> Tensor:
        """|acceleration| - 1 in g, (..., 1)."""
        return torch.sqrt((x[..., :3] / self.config.gravity).square().sum(-1, keepdim=True)) - 1
