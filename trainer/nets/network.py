"""What the graph networks have in common: the way into and out of their layers.

::

    x (C, V) ──► [scale] ──► [sensor streams] ──► [norm] ──► 1x1 ──► layers ──► mean over nodes ──► 1x1 ──► logits

Every network of the family has ``forward``: whole trials (N, C, L, V) -> logits (N, classes, L), or (stages, N,
classes, L) where each stage is trained; and says its ``receptive_field``, ``look_ahead``, ``delay``, ``state_size`` and
``macs``. Those that see no future also have a pure ``step`` of one frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainer.nets.graph import adjacency
from trainer.nets.int8 import Product
from trainer.nets.layers import ChannelNorm, Normalization, frame_norm, pointwise
from trainer.nets.memory import LayerState, initial_memory, slide
from trainer.nets.network_config import MultiStageConfig, NetworkConfig
from trainer.nets.sensors import SensorStreams


class GraphNetwork(nn.Module):
    """What trainer and exporter may ask of any network: its configuration, sizes, and the scale of its input."""

    config: NetworkConfig | MultiStageConfig
    input_mean: Tensor
    input_scale: Tensor
    skips = False  # whether ``forward(x, every=n)`` can leave out all but every n-th frame's logits

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        # raw input is shifted and scaled by these, so that a stream feeds what the sensor gives
        self.register_buffer("input_mean", torch.zeros(channels, nodes))
        self.register_buffer("input_scale", torch.ones(channels, nodes))

    def set_input_normalisation(self, mean: Tensor, scale: Tensor) -> None:
        """Make the network take ``(x - mean) * scale``; (C, V) or (C, 1) each."""
        self.input_mean.copy_(mean.expand_as(self.input_mean))
        self.input_scale.copy_(scale.expand_as(self.input_scale))

    def _scale(self, x: Tensor) -> Tensor:
        """Raw frames (..., V, C), shifted and scaled."""
        return (x - self.input_mean.t()) * self.input_scale.t()

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on, those ahead included."""
        raise NotImplementedError

    @property
    def look_ahead(self) -> int:
        """Frames after t that the output at t depends on."""
        return 0

    @property
    def delay(self) -> int:
        """The output at frame t speaks of frame ``t - delay``."""
        return 0

    @property
    def state_size(self) -> int:
        """Words that one person's stream keeps from frame to frame."""
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """Multiplications a frame in streaming."""
        raise NotImplementedError


class FrameNetwork(GraphNetwork):
    """Input normalisation, embedding and classifier, for frames (N, L, V, C)."""

    config: NetworkConfig
    A: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        C, V = config.in_channels, config.graph.num_node
        super().__init__(C, V)
        self.config = config
        first, last = config.layers[0].in_channels, config.layers[-1].out_channels
        self.register_buffer("A", torch.from_numpy(adjacency(config.graph, config.strategy)))
        self.sensors = SensorStreams(config.sensors) if config.sensors else None
        streams = config.sensors.streams if config.sensors else C
        self.norm_in = _input_norm(config.normalization, streams, V) if config.input_norm else nn.Identity()
        self.fcn_in = nn.Conv2d(streams, first, 1)
        self.fcn_out = nn.Conv2d(last, len(config.labels), 1)
        self.product = Product()

    def _streams(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> scaled frames or sensor streams (N, L, V, C)."""
        y = self._scale(x.permute(0, 2, 3, 1))
        return y if self.sensors is None else self.sensors(y)

    def _streams_step(
        self, x: Tensor, memory: tuple[LayerState, ...], steps: int
    ) -> tuple[Tensor, tuple[LayerState, ...]]:
        """One frame (N, C, V) -> scaled or streams (N, V, C), and the sensors' memory."""
        y = self._scale(x.transpose(1, 2))
        if self.sensors is None:
            return y, memory
        after = list(memory)

        def windowed(entering: Tensor, i: int) -> Tensor:
            sums, after[i] = slide(entering, self.config.sensor_memories[i], memory[i], steps)
            return sums

        return self.sensors.streams(y, windowed), tuple(after)

    def _sensor_memory(self, N: int) -> tuple[LayerState, ...]:
        """The sensors' memory before the first frame; nothing without sensors."""
        V = self.config.graph.num_node
        return tuple(initial_memory(memory, self.input_mean, N, V) for memory in self.config.sensor_memories)

    def _embed(self, x: Tensor) -> Tensor:
        """Scaled frames or streams (N, L, V, C) -> (N, L, V, C of the first layer)."""
        # BatchNorm has a statistic for each node and channel
        x = self.norm_in(x.flatten(2)).view_as(x) if isinstance(self.norm_in, ChannelNorm) else self.norm_in(x)
        return pointwise(self.fcn_in, x, self.product)

    def _classify(self, x: Tensor) -> Tensor:
        """(..., V, C) -> logits (..., classes)."""
        return pointwise(self.fcn_out, x.mean(-2), self.product)

    @property
    def receptive_field(self) -> int:
        return 1 + sum((layer.taps - 1) * layer.dilation for layer in self.config.memories)

    @property
    def delay(self) -> int:
        return sum(layer.residual_delay for layer in self.config.memories)

    @property
    def _outer_macs(self) -> int:
        """Multiplications a frame of embedding and classifier."""
        return self.config.graph.num_node * math.prod(self.fcn_in.weight.shape) + math.prod(self.fcn_out.weight.shape)

    def _graph_conv_macs(self, c_in: int, c_out: int) -> int:
        """Multiplications a frame of one graph convolution."""
        P, V, _ = self.A.shape
        return P * V * V * c_in + P * V * c_in * c_out


def _input_norm(kind: Normalization, channels: int, nodes: int) -> nn.Module:
    # as in ST-GCN, BatchNorm at the input tells the nodes apart: each has its own range
    return ChannelNorm(nodes * channels) if kind == "BatchNorm" else frame_norm(kind, channels, nodes)
