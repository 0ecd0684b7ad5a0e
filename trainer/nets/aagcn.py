"""AAGCN (Shi, Zhang, Cheng, Lu, IEEE TIP 2020): ST-GCN whose graph adapts to what it sees, with attention after it.

::

    adjacency of a layer:  A + B + α·C      A the skeleton's; B learnt, one for all; C of this window: how alike the
                                            nodes' embeddings are, softmax(θ(x)ᵀ φ(x))
    attention, in turn:    nodes, frames, channels: each a gate 1 + sigmoid(...) made from the averages over the others

C and the attention look at a whole window at once, so it runs as ST-GCN does: a window a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.nets.layers import Normalization, pointwise
from trainer.nets.network_config import LayerConfig
from trainer.nets.stgcn import SlidingWindow, StgcnLayer

EMBEDDING = 4  # the embeddings of C have a quarter of the output channels
REDUCTION = 2  # of the channel attention's hidden layer


class AdaptiveGraphConv(nn.Module):
    """Graph convolution with the adjacency ``A + B + α·C`` of each window."""

    def __init__(self, c_in: int, c_out: int, A: Tensor) -> None:
        super().__init__()
        self.partitions, self.nodes, _ = A.shape
        self.embedded = max(1, c_out // EMBEDDING)
        self.conv = nn.Conv2d(c_in, self.partitions * c_out, 1)
        self.theta = nn.Conv2d(c_in, self.partitions * self.embedded, 1)
        self.phi = nn.Conv2d(c_in, self.partitions * self.embedded, 1)
        self.B = nn.Parameter(torch.zeros_like(A))
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        """(B, L, V, C_in) -> (B, L, V, C_out)."""
        graph = A + self.B + self.alpha * self._alike(x)  # (B, P, V, V)
        B, L, V, _ = x.shape
        y = pointwise(self.conv, x).view(B, L, V, self.partitions, -1)
        return torch.einsum("blvpc,bpvw->blwc", y, graph)

    def _alike(self, x: Tensor) -> Tensor:
        """How much each node resembles each other one over the window, (B, P, V, V); every column sums to 1."""
        B, L, V, _ = x.shape
        theta, phi = (
            pointwise(conv, x).view(B, L, V, self.partitions, self.embedded) for conv in (self.theta, self.phi)
        )
        scores = torch.einsum("blvpe,blwpe->bpvw", theta, phi) / (self.embedded * L)
        return scores.softmax(dim=2)

    @property
    def macs(self) -> int:
        """Multiplications a frame."""
        P, V = self.partitions, self.nodes
        c_in, c_out = self.conv.in_channels, self.conv.out_channels // P
        embeddings = 2 * V * c_in * P * self.embedded + P * V * V * self.embedded
        return P * V * c_in * c_out + P * V * V * c_out + embeddings


class Attention(nn.Module):
    """Gates for nodes, frames and channels, (B, L, V, C) -> same."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        kernel = nodes - 1 if nodes % 2 == 0 else nodes
        self.nodes = nn.Conv1d(channels, 1, kernel, padding=kernel // 2)
        self.frames = nn.Conv1d(channels, 1, 9, padding=4)
        hidden = max(1, channels // REDUCTION)
        last = nn.Linear(hidden, channels)
        self.channels = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last)
        for layer in (self.nodes, self.frames, last):  # all gates alike at the start: 1 + sigmoid(0)
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = x * (1 + torch.sigmoid(self.nodes(x.mean(1).transpose(1, 2)).transpose(1, 2)[:, None]))  # (B, 1, V, 1)
        x = x * (1 + torch.sigmoid(self.frames(x.mean(2).transpose(1, 2)).transpose(1, 2)[:, :, None]))  # (B, L, 1, 1)
        return x * (1 + torch.sigmoid(self.channels(x.mean((1, 2)))[:, None, None]))


class AagcnLayer(StgcnLayer):
    """ST-GCN's layer with the adaptive graph and the attention between graph and temporal convolution."""

    def __init__(self, config: LayerConfig, A: Tensor, normalization: Normalization) -> None:
        adaptive = AdaptiveGraphConv(config.in_channels, config.out_channels, A)
        super().__init__(config, adaptive, A.shape[1], normalization)
        self.attention = Attention(config.out_channels, A.shape[1])

    @property
    def adaptive_conv(self) -> AdaptiveGraphConv:
        """The graph convolution, typed."""
        assert isinstance(self.gcn, AdaptiveGraphConv)
        return self.gcn

    def _spatial(self, x: Tensor, A: Tensor) -> Tensor:
        out: Tensor = self.attention(super()._spatial(x, A))
        return out

    def _spatial_macs(self) -> int:
        return self.adaptive_conv.macs


class Aagcn(SlidingWindow):
    """The network on one stream (joints; bones and motion are data: trainer.data.augment)."""

    def _layer(self, config: LayerConfig) -> AagcnLayer:
        return AagcnLayer(config, self.A, self.config.normalization)
