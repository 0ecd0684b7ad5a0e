"""Exponential moving average of a network's weights: the average generalises better than the last step's weights."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


class Ema(Generic[Net]):
    """A copy of ``net`` whose floating-point weights and statistics follow it slowly.

    The decay of step ``n`` is ``min(decay, (1 + n) / (10 + n))``, so that the random start is forgotten early.
    """

    def __init__(self, net: Net, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.net = copy.deepcopy(net).eval()
        self.net.requires_grad_(False)

    @torch.no_grad()
    def update(self, net: Net) -> None:
        """Move one step towards ``net``."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mean, value in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on."""
        return {"steps": self.steps, "net": self.net.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.steps = state["steps"]
        self.net.load_state_dict(state["net"])
