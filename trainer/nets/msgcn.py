"""MS-GCN (Filtjens, Vanrumste, Slaets, IEEE TETC 2022): MS-TCN whose first stage is a dilated, acausal ST-GCN.

::

    stage 1: frames ─► BatchNorm ─► 1x1 ─► layers, dilation 1, 2, 4, … ─► mean over nodes ─► 1x1 ─► logits
    layer:   x ─► graph convolution ─► BatchNorm, ReLU ─► convolution of 3 frames, both ways ─► BatchNorm, ReLU ─(+ x)─►
    stage 2 …: softmax ─► 1x1 ─► layers (convolution of 3 frames, BatchNorm, ReLU, + x) ─► 1x1 ─► logits

Parameter names are the published ones: the released weights load as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.graph import adjacency
from trainer.nets.layers import ChannelNorm, GraphConv, pointwise, temporal_conv
from trainer.nets.mstcn import MultiStage
from trainer.nets.network_config import MultiStageConfig


class GraphLayer(nn.Module):
    """One layer of the first stage, (N, L, V, C) -> same."""

    def __init__(self, filters: int, dilation: int, A: Tensor) -> None:
        super().__init__()
        self.dilation = dilation
        self.gcn = GraphConv(filters, filters, A, edge_importance=False)
        self.tcn = nn.Sequential(
            ChannelNorm(filters), nn.ReLU(), nn.Conv2d(filters, filters, (3, 1)), ChannelNorm(filters)
        )

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        norm, relu, conv, norm_after = self.tcn
        assert isinstance(conv, nn.Conv2d)
        y = temporal_conv(conv, relu(norm(self.gcn(x, A))), self.dilation, self.dilation, self.dilation)
        return F.relu(norm_after(y)) + x


class GraphStage(nn.Module):
    """Raw frames (N, L, V, C) -> logits (N, classes, L)."""

    A: Tensor

    def __init__(self, config: MultiStageConfig) -> None:
        super().__init__()
        A = torch.from_numpy(adjacency(config.graph, config.strategy))
        self.register_buffer("A", A)  # the released file has its own, normalised by columns
        self.data_bn = ChannelNorm(config.graph.num_node * config.in_channels)
        self.conv_1x1 = nn.Conv2d(config.in_channels, config.filters, 1)
        self.st_gcn_networks = nn.ModuleList(GraphLayer(config.filters, 2**i, A) for i in range(config.layers))
        count = config.layers if config.edge_importance else 0
        self.edge_importance = nn.ParameterList(torch.ones_like(A) for _ in range(count))
        self.conv_out = nn.Conv1d(config.filters, len(config.labels), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = pointwise(self.conv_1x1, self.data_bn(x.flatten(2)).view_as(x))
        for index, layer in enumerate(self.st_gcn_networks):
            y = layer(y, self.A * self.edge_importance[index] if len(self.edge_importance) else self.A)
        out: Tensor = self.conv_out(y.mean(2).transpose(1, 2))
        return out


class RefinementLayer(nn.Module):
    """(N, C, L) -> same."""

    def __init__(self, filters: int, dilation: int) -> None:
        super().__init__()
        self.conv_dilated = nn.Conv1d(filters, filters, 3, padding=dilation, dilation=dilation)
        self.bn = nn.BatchNorm1d(filters)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(self.bn(self.conv_dilated(x))) + x
        return out


class RefinementStage(nn.Module):
    """Probabilities (N, classes, L) -> logits (N, classes, L)."""

    def __init__(self, config: MultiStageConfig) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv1d(len(config.labels), config.filters, 1)
        self.layers = nn.Sequential(*(RefinementLayer(config.filters, 2**i) for i in range(config.layers)))
        self.conv_out = nn.Conv1d(config.filters, len(config.labels), 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.layers(self.conv_1x1(x)))
        return out


class MsGcn(MultiStage):
    """The network."""

    def __init__(self, config: MultiStageConfig) -> None:
        super().__init__(config)
        self.stream = GraphStage(config)
        self.stages = nn.ModuleList(RefinementStage(config) for _ in range(config.stages - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> logits of every stage (stages, N, classes, L)."""
        logits = [self.stream(self._scale(x.permute(0, 2, 3, 1)))]
        for stage in self.stages:
            logits.append(stage(logits[-1].softmax(1)))
        return torch.stack(logits)

    @property
    def state_size(self) -> int:
        nodes = self.config.graph.num_node + self.config.stages - 1  # a refinement stage is one node wide
        return nodes * self._span * self.config.filters

    @property
    def macs(self) -> int:
        c, classes = self.config, len(self.config.labels)
        P, V, _ = self.stream.A.shape
        graph = c.layers * (P * V * V * c.filters + V * (P + 3) * c.filters**2) + V * c.in_channels * c.filters
        refinement = c.layers * 3 * c.filters**2 + classes * c.filters
        return graph + classes * c.filters + (c.stages - 1) * (refinement + classes * c.filters)
