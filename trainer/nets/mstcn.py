"""MS-TCN (Farha, Gall, CVPR 2019): stages of dilated convolutions along time, each refining the one before.

::

    stage 1: features ─► 1x1 ─► layers, dilation 1, 2, 4, … ─► 1x1 ─► logits ─► softmax ─► stage 2 ─► …
    layer:   x ─► convolution of 3 frames, dilated, both ways ─► ReLU ─► 1x1 ─► dropout ─(+ x)─►

It sees the whole recording: frames ahead count as much as frames behind. A frame's nodes and channels are one vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.network import GraphNetwork
from trainer.nets.network_config import MultiStageConfig


class MultiStage(GraphNetwork):
    """What networks of stages have in common; they see as far ahead as behind."""

    config: MultiStageConfig

    def __init__(self, config: MultiStageConfig) -> None:
        super().__init__(config.in_channels, config.graph.num_node)
        self.config = config

    @property
    def receptive_field(self) -> int:
        return self.config.receptive_field

    @property
    def look_ahead(self) -> int:
        return self.config.receptive_field // 2

    @property
    def _span(self) -> int:
        """Frames that the FIFOs of one stage would hold: 2 dilations a layer."""
        return 2 * ((1 << self.config.layers) - 1)


class DilatedLayer(nn.Module):
    """One layer, (N, C, L) -> same."""

    def __init__(self, filters: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv_dilated = nn.Conv1d(filters, filters, 3, padding=dilation, dilation=dilation)
        self.conv_1x1 = nn.Conv1d(filters, filters, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.dropout(self.conv_1x1(F.relu(self.conv_dilated(x))))
        return out


class Stage(nn.Module):
    """Features or probabilities (N, C_in, L) -> logits (N, classes, L)."""

    def __init__(self, c_in: int, config: MultiStageConfig) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv1d(c_in, config.filters, 1)
        self.layers = nn.Sequential(*(DilatedLayer(config.filters, 2**i, config.dropout) for i in range(config.layers)))
        self.conv_out = nn.Conv1d(config.filters, len(config.labels), 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.layers(self.conv_1x1(x)))
        return out


class MsTcn(MultiStage):
    """The network."""

    def __init__(self, config: MultiStageConfig) -> None:
        super().__init__(config)
        first = config.in_channels * config.graph.num_node
        widths = (first, *(len(config.labels) for _ in range(config.stages - 1)))
        self.stages = nn.ModuleList(Stage(width, config) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> logits of every stage (stages, N, classes, L)."""
        y = self._scale(x.permute(0, 2, 3, 1)).flatten(2).transpose(1, 2)  # (N, V*C, L)
        logits = []
        for stage in self.stages:
            logits.append(stage(y))
            y = logits[-1].softmax(1)
        return torch.stack(logits)

    @property
    def state_size(self) -> int:
        return self.config.stages * self._span * self.config.filters

    @property
    def macs(self) -> int:
        c, classes = self.config, len(self.config.labels)
        first = c.in_channels * c.graph.num_node
        inputs = first + (c.stages - 1) * classes
        return c.filters * (inputs + c.stages * (c.layers * 4 * c.filters + classes))
