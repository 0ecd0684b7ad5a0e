"""Shift-GCN (Cheng et al., CVPR 2020), causal: instead of convolving, features change places, then a 1x1 mixes them.

::

    nodes:  channel c of node v is taken from node v + c (all joints meet all joints), mask, 1x1, and back
    time:   channel c is taken τ_c frames ago, τ_c learnt and between frames interpolated, 1x1, ReLU, and again

The published temporal shift looks both ways; here τ is 0 … (taps - 1)·dilation frames back, so that the network runs
frame by frame: a FIFO each for the two shifts of a layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.layers import Normalization, PointwiseNorm, frame_norm, pointwise
from trainer.nets.memory import LayerState
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig


class NodeShift(nn.Module):
    """Channel c of node v from node ``v + direction * c`` (mod V), (..., V, C) -> same."""

    source: Tensor  # the node that each channel comes from, (V, C)
    index: Tensor

    def __init__(self, channels: int, nodes: int, direction: int) -> None:
        super().__init__()
        node, channel = torch.arange(nodes)[:, None], torch.arange(channels)
        source = (node + direction * channel) % nodes
        self.register_buffer("source", source, persistent=False)
        self.register_buffer("index", (source * channels + channel).flatten(), persistent=False)  # into (V * C)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(-2).index_select(-1, self.index).view_as(x)


class FrameShift(nn.Module):
    """Channel c of frame t from frame ``t - τ_c``, linear between frames, zeros before the start."""

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach  # largest τ
        self.tau = nn.Parameter(torch.rand(channels) * reach)

    def taps(self) -> tuple[Tensor, Tensor]:
        """Whole frames back (C,), and the share of the frame one further back (C,)."""
        tau = self.tau.clamp(0, self.reach)
        whole = tau.detach().floor().clamp(max=max(0, self.reach - 1)).long()
        return whole, tau - whole

    def kernel(self) -> Tensor:
        """The shift as weights of the frames ``reach`` … 0 back, (reach + 1, C): two of each channel's are not zero."""
        whole, share = self.taps()
        back = torch.arange(self.reach, -1, -1, device=share.device)[:, None]
        return (back == whole) * (1 - share) + (back == whole + 1) * share

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, V, C) -> same."""
        padded = F.pad(x, (0, 0, 0, 0, self.reach, 0))
        whole, share = self.taps()
        now = torch.arange(x.shape[1], device=x.device)[:, None] + self.reach  # (L, 1)
        near = self._pick(padded, now - whole)
        far = self._pick(padded, (now - whole - 1).clamp(min=0))
        return near + share * (far - near)

    @staticmethod
    def _pick(x: Tensor, frame: Tensor) -> Tensor:
        """Channel c of output t from frame ``frame[t, c]``."""
        return x.gather(1, frame[None, :, None].expand(x.shape[0], -1, x.shape[2], -1))

    def step(self, x: Tensor, fifo: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One frame (N, V, C); ``fifo`` has the last ``reach`` frames, oldest first."""
        frames = (*fifo, x)
        return self.forward(torch.stack(frames, 1))[:, -1], frames[1:]


class ShiftState(NamedTuple):
    """The network's memory: frames seen so far, two FIFOs a layer, and what sensor streams keep."""

    steps: int
    layers: tuple[tuple[tuple[Tensor, ...], tuple[Tensor, ...]], ...]
    sensors: tuple[LayerState, ...]


class ShiftLayer(nn.Module):
    """Spatial shift convolution, temporal shift convolution, residual."""

    def __init__(self, config: LayerConfig, nodes: int, normalization: Normalization) -> None:
        super().__init__()
        c_in, c_out = config.in_channels, config.out_channels
        reach = (config.taps - 1) * config.dilation
        self.config = config
        self.shift_in, self.shift_out = NodeShift(c_in, nodes, 1), NodeShift(c_out, nodes, -1)
        self.mask = nn.Parameter(torch.zeros(nodes, c_in))
        self.mix = nn.Conv2d(c_in, c_out, 1)
        self.norm_spatial = frame_norm(normalization, c_out, nodes)
        self.past_in, self.past_out = FrameShift(c_out, reach), FrameShift(c_out, reach)
        self.mix_time = nn.Conv2d(c_out, c_out, 1)
        self.norm_temporal = frame_norm(normalization, c_out, nodes)
        self.dropout = nn.Dropout(config.dropout)
        self.down = PointwiseNorm(c_in, c_out, nodes, normalization) if c_in != c_out else None
        self.residual: PointwiseNorm | None = None
        if config.residual == "conv":
            self.residual = PointwiseNorm(c_in, c_out, nodes, normalization)

    def spatial(self, x: Tensor) -> Tensor:
        """(..., V, C_in) -> (..., V, C_out), each frame on its own."""
        y = self.shift_in(x) * (torch.tanh(self.mask) + 1)
        y = self.norm_spatial(self.shift_out(pointwise(self.mix, y)))
        return F.relu(y + (x if self.down is None else self.down(x)))

    def join(self, y: Tensor, x: Tensor) -> Tensor:
        """What came through time, and the layer's input."""
        y = self.dropout(self.norm_temporal(y))
        match self.config.residual:
            case "identity":
                y = y + x
            case "conv":
                assert self.residual is not None
                y = y + self.residual(x)
        return F.relu(y)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(pointwise(self.mix_time, self.past_in(self.spatial(x))))
        return self.join(self.past_out(y), x)

    def step(
        self, x: Tensor, state: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """One frame (N, V, C_in) -> (N, V, C_out)."""
        y, first = self.past_in.step(self.spatial(x), state[0])
        y, second = self.past_out.step(F.relu(pointwise(self.mix_time, y)), state[1])
        return self.join(y, x), (first, second)


class ShiftGcn(FrameNetwork):
    """The network. Its graph convolution needs no graph: every node meets every other one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        V = config.graph.num_node
        self.blocks = nn.ModuleList(ShiftLayer(layer, V, config.normalization) for layer in config.layers)

    @property
    def layers(self) -> list[ShiftLayer]:
        """The layers, typed."""
        return [layer for layer in self.blocks if isinstance(layer, ShiftLayer)]

    def forward(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L)."""
        y = self._embed(self._streams(x))
        for layer in self.layers:
            y = layer(y)
        return self._classify(y).transpose(1, 2)

    def initial_state(self, N: int = 1) -> ShiftState:
        """Memory before the first frame."""
        V, layers = self.config.graph.num_node, []
        for layer in self.layers:
            fifo = (self.input_mean.new_zeros(N, V, layer.config.out_channels),) * layer.past_in.reach
            layers.append((fifo, fifo))
        return ShiftState(0, tuple(layers), self._sensor_memory(N))

    def step(self, x: Tensor, state: ShiftState) -> tuple[Tensor, ShiftState]:
        """One frame (N, C, V) -> logits (N, classes) and the new memory; the old one stays as it was."""
        y, sensors = self._streams_step(x, state.sensors, state.steps)
        y, after = self._embed(y[:, None])[:, 0], []
        for layer, before in zip(self.layers, state.layers, strict=True):
            y, kept = layer.step(y, before)
            after.append(kept)
        return self._classify(y), ShiftState(state.steps + 1, tuple(after), sensors)

    @property
    def receptive_field(self) -> int:
        before = sum(memory.taps - 1 for memory in self.config.sensor_memories)
        return 1 + before + sum(2 * layer.past_in.reach for layer in self.layers)

    @property
    def delay(self) -> int:
        return 0

    @property
    def state_size(self) -> int:
        state = self.initial_state()
        parts = [part for layer in (*state.layers, *state.sensors) for part in layer]
        return sum(frame.numel() for part in parts for frame in part)

    @property
    def macs(self) -> int:
        V, total = self.config.graph.num_node, self._outer_macs
        for layer in self.layers:
            c_in, c_out = layer.config.in_channels, layer.config.out_channels
            ones = [c_in * c_out, c_out * c_out]
            ones += [c_in * c_out] * ((c_in != c_out) + (layer.residual is not None))
            total += V * sum(ones)
        return total
