"""RT-ST-GCN stepped in eager torch in the manner of the published implementation, for comparison.

Channel-first frames (N, C, 1, V); one 1x1 convolution to all partitions, one product a partition; the FIFO a tensor
that is shifted by concatenation; the unbiased LayerNorm written out. The parameters are those of our network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nets.layers import FrameNorm
from trainer.nets.rtstgcn import Layer, RtStgcn


class PublishedManner:
    """``step(x)``: one frame (1, C, V) -> logits (1, classes)."""

    def __init__(self, network: RtStgcn) -> None:
        self._network = network
        V = network.config.graph.num_node
        self._adjacency = [
            network.A * layer.edge_importance if layer.edge_importance is not None else network.A
            for layer in network.layers
        ]
        self._fifos = [
            torch.zeros(1, layer.config.out_channels, layer.config.taps * layer.config.dilation, V)
            for layer in network.layers
        ]
        self._sums = [torch.zeros(1, f.shape[1], layer.config.dilation, V) for f, layer in self._pairs()]
        self._t = 0

    def _pairs(self) -> list[tuple[Tensor, Layer]]:
        return list(zip(self._fifos, self._network.layers, strict=True))

    @torch.inference_mode()
    def step(self, x: Tensor) -> Tensor:
        network = self._network
        assert isinstance(network.norm_in, FrameNorm)
        y = _norm(x[:, :, None], network.norm_in)
        y = F.conv2d(y, network.fcn_in.weight, network.fcn_in.bias)
        for i, layer in enumerate(network.layers):
            y = self._layer(i, layer, y)
        self._t += 1
        return F.conv2d(y.mean(3, keepdim=True), network.fcn_out.weight, network.fcn_out.bias)[:, :, 0, 0]

    def _layer(self, i: int, layer: Layer, x: Tensor) -> Tensor:
        A = self._adjacency[i]
        parts = F.conv2d(x, layer.conv.weight, layer.conv.bias).chunk(len(A), dim=1)
        h = torch.stack([part @ a for part, a in zip(parts, A, strict=True)]).sum(0)  # (1, C, 1, V)
        phase = self._t % layer.config.dilation
        total = self._sums[i][:, :, phase : phase + 1] + h - self._fifos[i][:, :, :1]
        self._sums[i][:, :, phase : phase + 1] = total
        self._fifos[i] = torch.cat([self._fifos[i][:, :, 1:], h], dim=2)
        norm = layer.bn_relu[0]
        assert isinstance(norm, FrameNorm)
        y = F.relu(_norm(total, norm))
        if layer.residual is not None:
            assert isinstance(layer.residual.norm, FrameNorm)
            x = _norm(F.conv2d(x, layer.residual.conv.weight), layer.residual.norm)
        return F.relu(y + x)


def _norm(x: Tensor, norm: FrameNorm) -> Tensor:
    """(N, C, 1, V) over channels and nodes, unbiased variance."""
    mean, variance = x.mean((1, 3), keepdim=True), x.var((1, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + norm.EPS) * norm.weight + norm.bias
