"""CoST-GCN (Hedegaard, Heidari, Iosifidis, Pattern Recognition 2023): ST-GCN frame by frame, convolutions continual.

::

    layer: x_t ─► graph convolution, norm, ReLU ─► f_t ─► [FIFO] ─► Σ_{k<taps} W_k f_{t-k·dilation} + b ─► norm ─(+)─►
             └───────────── [FIFO, to the middle of the window] ─► identity | 1x1 conv, norm ────────────────────┘

Unlike RT-ST-GCN's sum, the kernel is learnt: a frame costs ``taps`` products, since nothing can be taken off a sum
that has other weights a frame later. As in Realtime-ST-GCN, whose configurations load, a stride is a dilation: there is
one output a frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.layers import GraphConv, Normalization, PointwiseNorm, delayed, frame_norm, temporal_conv
from trainer.nets.memory import LayerState
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig


class CoLayerState(NamedTuple):
    """One layer's memory, oldest first: ``(taps - 1) * dilation`` frames ``f`` and ``residual_delay`` inputs ``x``."""

    fifo: tuple[Tensor, ...]
    residual: tuple[Tensor, ...]


class CoState(NamedTuple):
    """The network's memory: frames seen so far, the layers', and what sensor streams keep."""

    steps: int
    layers: tuple[CoLayerState, ...]
    sensors: tuple[LayerState, ...]


class CoLayer(nn.Module):
    """One layer over frames (N, L, V, C), or one frame (N, V, C) in ``step``."""

    def __init__(self, config: LayerConfig, A: Tensor, normalization: Normalization) -> None:
        super().__init__()
        V, c_out = A.shape[1], config.out_channels
        self.config = config
        self.gcn = GraphConv(config.in_channels, c_out, A, edge_importance=False)
        self.norm_spatial = frame_norm(normalization, c_out, V)
        self.tcn = nn.Conv2d(c_out, c_out, (config.taps, 1))
        self.norm_temporal = frame_norm(normalization, c_out, V)
        self.dropout = nn.Dropout(config.dropout)
        self.residual: PointwiseNorm | None = None
        if config.residual == "conv":
            self.residual = PointwiseNorm(config.in_channels, c_out, V, normalization)

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        c = self.config
        f = F.relu(self.norm_spatial(self.gcn(x, A)))
        y = temporal_conv(self.tcn, f, c.dilation, before=(c.taps - 1) * c.dilation)
        return self._join(y, delayed(x, c.residual_delay))

    def _join(self, y: Tensor, skipped: Tensor) -> Tensor:
        """The convolution's output, and the input that it belongs to."""
        y = self.dropout(self.norm_temporal(y))
        match self.config.residual:
            case "identity":
                y = y + skipped
            case "conv":
                assert self.residual is not None
                y = y + self.residual(skipped)
        return F.relu(y)

    def initial_state(self, N: int) -> CoLayerState:
        c, V = self.config, self.gcn.nodes
        f, x = self.tcn.weight.new_zeros(N, V, c.out_channels), self.tcn.weight.new_zeros(N, V, c.in_channels)
        return CoLayerState((f,) * ((c.taps - 1) * c.dilation), (x,) * c.residual_delay)

    def step(self, x: Tensor, A: Tensor, state: CoLayerState) -> tuple[Tensor, CoLayerState]:
        """One frame (N, V, C_in) -> (N, V, C_out)."""
        f = F.relu(self.norm_spatial(self.gcn(x[:, None], A)[:, 0]))
        fifo, held = (*state.fifo, f), (*state.residual, x)
        window = torch.stack(fifo[:: self.config.dilation], 1)  # (N, taps, V, C)
        return self._join(temporal_conv(self.tcn, window)[:, 0], held[0]), CoLayerState(fifo[1:], held[1:])


class CoStGcn(FrameNetwork):
    """The network."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.gcn_networks = nn.ModuleList(CoLayer(layer, self.A, config.normalization) for layer in config.layers)
        count = len(config.layers) if config.edge_importance else 0
        self.edge_importance = nn.ParameterList(torch.ones_like(self.A) for _ in range(count))

    @property
    def layers(self) -> list[CoLayer]:
        """The layers, typed."""
        return [layer for layer in self.gcn_networks if isinstance(layer, CoLayer)]

    def adjacencies(self) -> list[Tensor]:
        """The adjacency that each layer sees."""
        if not len(self.edge_importance):
            return [self.A] * len(self.layers)
        return [self.A * importance for importance in self.edge_importance]

    def forward(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L); the logits at t speak of frame ``t - delay``."""
        y = self._embed(self._streams(x))
        for layer, A in zip(self.layers, self.adjacencies(), strict=True):
            y = layer(y, A)
        return self._classify(y).transpose(1, 2)

    def initial_state(self, N: int = 1) -> CoState:
        """Memory before the first frame."""
        return CoState(0, tuple(layer.initial_state(N) for layer in self.layers), self._sensor_memory(N))

    def step(self, x: Tensor, state: CoState) -> tuple[Tensor, CoState]:
        """One frame (N, C, V) -> logits (N, classes) and the new memory; the old one stays as it was."""
        y, sensors = self._streams_step(x, state.sensors, state.steps)
        y, after = self._embed(y[:, None])[:, 0], []
        for layer, A, before in zip(self.layers, self.adjacencies(), state.layers, strict=True):
            y, kept = layer.step(y, A, before)
            after.append(kept)
        return self._classify(y), CoState(state.steps + 1, tuple(after), sensors)

    @property
    def state_size(self) -> int:
        state = self.initial_state()
        parts = [part for layer in (*state.layers, *state.sensors) for part in layer]
        return sum(frame.numel() for part in parts for frame in part)

    @property
    def macs(self) -> int:
        V, total = self.config.graph.num_node, self._outer_macs
        for c in self.config.layers:
            total += self._graph_conv_macs(c.in_channels, c.out_channels) + V * c.taps * c.out_channels**2
            total += V * c.in_channels * c.out_channels if c.residual == "conv" else 0
        return total
