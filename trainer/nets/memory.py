"""The memory of a sliding sum that runs frame by frame, as values: the old one stays as it was."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.nets.network_config import LayerConfig


class LayerState(NamedTuple):
    """One layer's memory. Every tensor is (N, V, C); ``fifo`` and ``residual`` have the oldest frame first.

    ::

        fifo      h_{t-taps·d} … h_{t-1}       taps · dilation frames; the first leaves when the next enters
        sums      running sums                  one a phase of the dilation, used in turn
        fresh     sums since the last swap      replace ``sums`` each time a phase has seen ``taps`` frames
        residual  x_{t-delay} … x_{t-1}
    """

    fifo: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    fresh: tuple[Tensor, ...]
    residual: tuple[Tensor, ...]


def initial_memory(config: LayerConfig, like: Tensor, N: int, V: int) -> LayerState:
    """An empty memory of one layer."""
    h, x = like.new_zeros(N, V, config.out_channels), like.new_zeros(N, V, config.in_channels)
    window = config.taps * config.dilation
    return LayerState((h,) * window, (h,) * config.dilation, (h,) * config.dilation, (x,) * config.residual_delay)


def slide(h: Tensor, config: LayerConfig, state: LayerState, steps: int) -> tuple[Tensor, LayerState]:
    """Let ``h`` (N, V, C) enter the window: its sum, and the memory after ``steps`` + 1 frames."""
    turn, phase = divmod(steps, config.dilation)
    s = state.sums[phase] + h - state.fifo[0]
    fresh = state.fresh[phase] + h
    wrapped = (turn + 1) % config.taps == 0
    kept = (fresh, torch.zeros_like(fresh)) if wrapped else (s, fresh)
    return s, state._replace(
        fifo=(*state.fifo[1:], h),
        sums=(*state.sums[:phase], kept[0], *state.sums[phase + 1 :]),
        fresh=(*state.fresh[:phase], kept[1], *state.fresh[phase + 1 :]),
    )
