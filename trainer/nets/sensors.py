"""What a graph network sees of body-worn sensors: streams made from raw acceleration and rate of turn, frame by frame.

Raw values mislead a network twice. Gyroscopes of the same recording may differ tenfold in gain (half of HuGaDB's
trials); so each rate of turn is given squashed at two scales and as a logarithm. And riding a lift differs from
standing by 0.05 to 0.1 g for a second or two, less than two accelerometers at rest differ from each other; so each
sensor's own rest level is measured and taken off.

::

    acceleration a (g), rate of turn r ──► m = |a| - 1
    calm   = exp(-(12 m)²)                          1 while the sensor is about as heavy as at rest
    rest   = Σ calm·m / (Σ calm + 2)                over the last ``rest_frames`` frames, exact from the first frame
    excess = m - rest                               what a lift adds: 0.05 to 0.1
    still  = exp(-(3|r|)²)                          1 while the sensor does not turn: walking would drown a lift
    streams: lift_gain·still·tanh(12 excess), a, tanh r, tanh r/8, 4 m, log(1 + 10|m|), log(1 + 10|r|)/2

The two sums are a memory like a layer's, with ``taps = rest_frames``: the exported graph keeps them as its layer 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_runtime.errors import InputError
from trainer.nets.layers import sliding_sum

RAW_CHANNELS = 6  # acceleration x y z, rate of turn x y z
SUMS = 2  # Σ calm·m and Σ calm
STREAMS = 15
PRIOR_FRAMES = 2.0  # weight of "the rest level is 1 g" against measured frames


@dataclass(frozen=True, slots=True)
class SensorConfig:
    """Units of the raw values, and the memory of the rest level.

    Args:
        gravity: raw acceleration that means 1 g.
        turn: raw rate of turn of a brisk movement (HuGaDB: 2000, that is 122 degrees a second).
        rest_frames: frames over which the rest level is measured.
        lift_gain: how much the first stream is amplified: a lift should stand out beside gravity's 1.
    """

    gravity: float
    turn: float
    rest_frames: int
    lift_gain: float = 1.0

    def __post_init__(self) -> None:
        if self.gravity <= 0 or self.turn <= 0 or self.rest_frames < 1:
            raise InputError(f"sensors: gravity, turn and rest_frames should be positive, found {self}")


class SensorStreams(nn.Module):
    """Raw frames (N, L, V, 6) -> streams (N, L, V, 15); no parameters."""

    def __init__(self, config: SensorConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Whole trials."""
        return self.streams(x, sliding_sum(self.entering(x), self.config.rest_frames, 1))

    def raw_units(self) -> Tensor:
        """Raw values of an ordinary movement, (6,)."""
        return torch.tensor([self.config.gravity] * 3 + [self.config.turn] * 3)

    def entering(self, x: Tensor) -> Tensor:
        """What each raw frame (..., 6) adds to the two sums, (..., 2)."""
        weight = self._weight(x)
        calm = torch.exp(-((12 * weight) ** 2))
        return torch.cat([calm * weight, calm], dim=-1)

    def streams(self, x: Tensor, sums: Tensor) -> Tensor:
        """Raw frames (..., 6) and the sums at their time (..., 2) -> (..., 15)."""
        weight = self._weight(x)
        excess = weight - sums[..., :1] / (sums[..., 1:] + PRIOR_FRAMES)
        turn = x[..., 3:] / self.config.turn
        still = torch.exp(-((3 * turn) ** 2).sum(-1, keepdim=True))
        parts = [
            self.config.lift_gain * still * torch.tanh(12 * excess),
            x[..., :3] / self.config.gravity,
            torch.tanh(turn),
            torch.tanh(turn / 8),
            4 * weight,
            torch.log(1 + 10 * weight.abs()),
            torch.log(1 + 10 * turn.abs()) / 2,
        ]
        return torch.cat(parts, dim=-1)

    def _weight(self, x: Tensor) -> Tensor:
        """|acceleration| - 1 in g, (..., 1)."""
        return torch.sqrt((x[..., :3] / self.config.gravity).square().sum(-1, keepdim=True)) - 1
