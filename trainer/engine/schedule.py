"""Learning-rate schedules as plain functions of progress: nothing to save, nothing to get out of step on resume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class Schedule:
    """Factor on the base learning rate at each optimizer step.

    ``cosine`` falls to ``floor`` at the last step, ``step`` multiplies by ``decay`` every ``every`` epochs (published:
    10), ``constant`` stays. All rise linearly over ``warmup`` steps first.
    """

    kind: Literal["constant", "cosine", "step"] = "constant"
    steps: int = 1
    warmup: int = 0
    floor: float = 0.01
    decay: float = 1.0
    every: int = 10
    steps_per_epoch: int = 1

    def factor(self, step: int) -> float:
        """Factor for optimizer step ``step`` (from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.kind == "cosine":
            progress = min(1.0, max(0, step - self.warmup) / max(1, self.steps - self.warmup))
            return rise * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress)))
        if self.kind == "step":
            return float(rise * self.decay ** (step // self.steps_per_epoch // self.every))
        return rise


def set_learning_rate(optimizer: torch.optim.Optimizer, base: float, factor: float) -> None:
    """Give every parameter group the rate ``base * factor``, times the group's own ``scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = base * factor * group.get("scale", 1.0)
