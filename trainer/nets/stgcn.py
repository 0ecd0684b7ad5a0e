"""ST-GCN (Yan, Xiong, Lin, AAAI 2018) as a recogniser of streams: the whole network over the last ``window`` frames.

::

    layer:   x ─► graph convolution, norm, ReLU ─► learnt convolution along time, norm ─(+ residual)─► ReLU
    window:  frames t-window+1 … t ─► embed ─► layers, whose strides shorten it ─► mean over time and nodes ─► logits t

Nothing is shared between windows: each frame costs a whole one. That is the price that RT-ST-GCN and CoST-GCN avoid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.nets.layers import GraphConv, Normalization, PointwiseNorm, frame_norm, temporal_conv
from trainer.nets.memory import LayerState
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig

WINDOWS_AT_ONCE = 32  # bounds the memory of training; every chunk is computed twice, as published


class StgcnLayer(nn.Module):
    """One layer over a window (B, L, V, C_in) -> (B, L / stride, V, C_out); the stride is ``config.dilation``."""

    def __init__(self, config: LayerConfig, gcn: nn.Module, nodes: int, normalization: Normalization) -> None:
        super().__init__()
        V, c_out = nodes, config.out_channels
        self.config, self.nodes = config, nodes
        self.gcn = gcn
        self.norm_spatial = frame_norm(normalization, c_out, V)
        self.tcn = nn.Conv2d(c_out, c_out, (config.taps, 1), stride=(config.dilation, 1))
        self.norm_temporal = frame_norm(normalization, c_out, V)
        self.dropout = nn.Dropout(config.dropout)
        self.residual: PointwiseNorm | None = None
        if config.residual == "conv":
            self.residual = PointwiseNorm(config.in_channels, c_out, V, normalization)

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        after = self.config.taps // 2
        y = temporal_conv(self.tcn, self._spatial(x, A), before=self.config.taps - 1 - after, after=after)
        y = self.dropout(self.norm_temporal(y))
        match self.config.residual:
            case "identity":
                y = y + x[:, :: self.config.dilation]
            case "conv":
                assert self.residual is not None
                y = y + self.residual(x[:, :: self.config.dilation])
        return F.relu(y)

    @property
    def graph_conv(self) -> GraphConv:
        """The graph convolution, where it is the plain one."""
        assert isinstance(self.gcn, GraphConv)
        return self.gcn

    def _spatial(self, x: Tensor, A: Tensor) -> Tensor:
        """What happens within each frame."""
        return F.relu(self.norm_spatial(self.gcn(x, A)))

    def macs(self, frames: int) -> int:
        """Multiplications over a window of ``frames`` inputs."""
        c, V = self.config, self.nodes
        shorter = -(-frames // c.dilation)
        skipped = c.in_channels * c.out_channels if c.residual == "conv" else 0
        return frames * self._spatial_macs() + shorter * V * (c.taps * c.out_channels**2 + skipped)

    def _spatial_macs(self) -> int:
        """Multiplications within one frame."""
        c, P, V = self.config, self.graph_conv.partitions, self.nodes
        return P * V * V * c.in_channels + P * V * c.in_channels * c.out_channels


class WindowState(NamedTuple):
    """Memory: the last ``window - 1`` frames (N, V, C), oldest first, and what sensor streams keep."""

    steps: int
    frames: tuple[Tensor, ...]
    sensors: tuple[LayerState, ...]


class SlidingWindow(FrameNetwork):
    """A network that looks at one window at a time, and the two ways to run it; ``_layer`` says what it is made of."""

    skips = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.window = config.window
        self.gcn_networks = nn.ModuleList(self._layer(layer) for layer in config.layers)

    def _layer(self, config: LayerConfig) -> StgcnLayer:
        raise NotImplementedError

    @property
    def layers(self) -> list[StgcnLayer]:
        """The layers, typed."""
        return [layer for layer in self.gcn_networks if isinstance(layer, StgcnLayer)]

    def adjacencies(self) -> list[Tensor]:
        """The adjacency that each layer is given."""
        return [self.A] * len(self.layers)

    def forward(self, x: Tensor, every: int = 1) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L), each from the window that ends there.

        With ``every`` = n only the windows that end at the frames n-1, 2n-1, ... are run, (N, classes, L // n).
        """
        frames = self._streams(x)
        N, _, V, C = frames.shape
        padded = F.pad(frames, (0, 0, 0, 0, self.window - 1, 0))
        ending = padded[:, every - 1 :].unfold(1, self.window, every)  # (N, L // every, V, C, window), a view
        logits = []
        for start in range(0, ending.shape[1], WINDOWS_AT_ONCE):
            some = ending[:, start : start + WINDOWS_AT_ONCE]
            windows = some.permute(0, 1, 4, 2, 3).reshape(-1, self.window, V, C)
            out = checkpoint(self._logits, windows, use_reentrant=False) if self.training else self._logits(windows)
            logits.append(out.view(N, some.shape[1], -1))
        return torch.cat(logits, 1).transpose(1, 2)

    def _logits(self, windows: Tensor) -> Tensor:
        """Scaled windows (B, window, V, C) -> logits (B, classes)."""
        y = self._embed(windows)
        for layer, A in zip(self.layers, self.adjacencies(), strict=True):
            y = layer(y, A)
        return self._classify(y.mean(1))

    def initial_state(self, N: int = 1) -> WindowState:
        """Memory before the first frame."""
        nothing = self.input_mean.new_zeros(N, self.config.graph.num_node, self.stream_channels)
        return WindowState(0, (nothing,) * (self.window - 1), self._sensor_memory(N))

    def step(self, x: Tensor, state: WindowState) -> tuple[Tensor, WindowState]:
        """One frame (N, C, V) -> logits (N, classes) and the new memory; the old one stays as it was."""
        frame, sensors = self._streams_step(x, state.sensors, state.steps)
        frames = (*state.frames, frame)
        return self._logits(torch.stack(frames, 1)), WindowState(state.steps + 1, frames[1:], sensors)

    @property
    def stream_channels(self) -> int:
        """Channels of one frame as it is kept."""
        return self.fcn_in.in_channels

    @property
    def receptive_field(self) -> int:
        before = sum(memory.taps - 1 for memory in self.config.sensor_memories)
        return self.window + before

    @property
    def delay(self) -> int:
        return 0

    @property
    def state_size(self) -> int:
        kept = sum(frame.numel() for memory in self._sensor_memory(1) for part in memory for frame in part)
        return (self.window - 1) * self.config.graph.num_node * self.stream_channels + kept

    @property
    def macs(self) -> int:
        frames, total = self.window, self._outer_macs
        total += (self.window - 1) * self.config.graph.num_node * self.fcn_in.weight.numel()
        for layer in self.layers:
            total += layer.macs(frames)
            frames = -(-frames // layer.config.dilation)
        return total


class StGcn(SlidingWindow):
    """The network, with a learnt importance of every edge in every layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        count = len(config.layers) if config.edge_importance else 0
        self.edge_importance = nn.ParameterList(torch.ones_like(self.A) for _ in range(count))

    def _layer(self, config: LayerConfig) -> StgcnLayer:
        gcn = GraphConv(config.in_channels, config.out_channels, self.A, edge_importance=False)
        return StgcnLayer(config, gcn, self.config.graph.num_node, self.config.normalization)

    def adjacencies(self) -> list[Tensor]:
        if not len(self.edge_importance):
            return super().adjacencies()
        return [self.A * importance for importance in self.edge_importance]
