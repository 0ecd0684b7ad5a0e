"""RT-ST-GCN stepped in eager torch, for comparison: operator for operator as published, and as the trainer does.

The published implementation (maximyudayev/Realtime-ST-GCN, its online layer and its LayerNorm, written anew here) works
on channel-first frames (N, C, 1, V): one 1x1 convolution to all partitions, which are split, stacked, permuted and
multiplied by the adjacency in one broadcast product, then added up; the sum and the FIFO are updated by assignment to
slices of them; the LayerNorm is written out. Its FIFO has the right length here (``taps * dilation``), so that the
result is that of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.nets.layers import FrameNorm, PointwiseNorm
from trainer.nets.rtstgcn import Layer, RtStgcn


class AsPublished(nn.Module):
    """``step(x)``: one frame (1, C, V) -> logits (1, classes), by the published operators and modules."""

    def __init__(self, network: RtStgcn) -> None:
        super().__init__()
        assert isinstance(network.norm_in, FrameNorm)
        nodes = network.config.graph.num_node
        self.body = nn.Sequential(
            _WrittenOutNorm(network.norm_in),
            network.fcn_in,
            *(_PublishedLayer(layer, network.A, nodes) for layer in network.layers),
            nn.AvgPool2d((1, nodes)),
            network.fcn_out,
        ).eval()

    @torch.no_grad()
    def step(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x[:, :, None])
        return logits[:, :, 0, 0]


class _PublishedLayer(nn.Module):
    def __init__(self, layer: Layer, A: Tensor, nodes: int) -> None:
        super().__init__()
        assert isinstance(layer.bn_relu[0], FrameNorm)
        self.conv = layer.conv
        self.aggregate = _Aggregate(layer, A, nodes)
        self.bn_relu = nn.Sequential(_WrittenOutNorm(layer.bn_relu[0]), nn.ReLU())
        self.residual = nn.Identity() if layer.residual is None else _residual(layer.residual)
        self.sum = _Observed()
        self.out = nn.Sequential(nn.ReLU(), nn.Dropout(layer.config.dropout))

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.residual(x)
        y: Tensor = self.out(self.sum(self.bn_relu(self.aggregate(self.conv(x))), skipped))
        return y


class _Aggregate(nn.Module):
    """Over the nodes, over the partitions, over time."""

    def __init__(self, layer: Layer, A: Tensor, nodes: int) -> None:
        super().__init__()
        c = layer.config
        self.A = A if layer.edge_importance is None else (A * layer.edge_importance).detach()
        self.fifo = torch.zeros(1, c.out_channels, c.taps * c.dilation, nodes)
        self.sums = torch.zeros(1, c.out_channels, c.dilation, nodes)
        self.plus, self.minus = _Observed(), _Observed()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        _, channels, length, nodes = self.fifo.shape
        slot, phase = self.steps % length, self.steps % self.sums.shape[2]
        parts = torch.stack(torch.split(x, channels, dim=1), -1).permute(0, 2, 4, 1, 3)  # (N, 1, P, C, V)
        h = torch.matmul(parts, self.A).sum(dim=2).view(1, channels, 1, nodes)
        total = self.sums[:, :, phase : phase + 1]
        self.sums[:, :, phase : phase + 1] = self.plus(total, h)
        self.sums[:, :, phase] = self.minus(self.sums[:, :, phase], -self.fifo[:, :, slot])
        self.fifo[:, :, slot : slot + 1] = h
        self.steps += 1
        return total


class _Observed(nn.Module):
    """An addition with a place for an observer, as torch's quantization asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.observer = nn.Identity()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        y: Tensor = self.observer(torch.add(a, b))
        return y


class _WrittenOutNorm(nn.Module):
    """(N, C, 1, V) over channels and nodes, unbiased variance."""

    def __init__(self, norm: FrameNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.EPS

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.mean(x, dim=[1, 3], keepdim=True)
        deviation = torch.sqrt(torch.var(x, dim=[1, 3], keepdim=True) + self.eps)
        return self.weight * ((x - mean) / deviation) + self.bias


def _residual(residual: PointwiseNorm) -> nn.Sequential:
    assert isinstance(residual.norm, FrameNorm)
    return nn.Sequential(residual.conv, _WrittenOutNorm(residual.norm))


class OwnStep:
    """The trainer's pure step: two products a layer, whose matrices it derives from the parameters each time, and the
    LayerNorm that torch has fused."""

    def __init__(self, network: RtStgcn) -> None:
        self._network = network
        self._state = network.initial_state()

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        logits, self._state = self._network.step(x, self._state)
        return logits
