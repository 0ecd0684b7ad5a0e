"""Layers that the graph networks share. Frames are kept channel-last, ``(N, L, V, C)``: people, time, nodes, channels.

With channels last the spatial aggregation is one batched product, the 1x1 convolution one matrix product, and the
sums along time run over contiguous memory (channel-first they are several times slower on a CPU).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.graph_product import graph_product
from trainer.nets.int8 import Product

Normalization = Literal["LayerNorm", "BatchNorm"]


class FrameNorm(nn.Module):
    """The published LayerNorm: over the channels and nodes of one frame, with the *unbiased* variance.

    With ``n = C * V``, ``(x - m) / sqrt(var_unbiased + eps)`` is the usual LayerNorm with ``eps (n-1)/n`` in place of
    ``eps`` and the weight scaled by ``sqrt((n-1)/n)``: so the fused operator computes it, here and in ONNX.
    Parameters have the published shape (C, 1, V).
    """

    EPS = 1e-5

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, nodes))
        self.bias = nn.Parameter(torch.zeros(channels, 1, nodes))

    def affine(self) -> tuple[Tensor, Tensor, float]:
        """Weight (V, C), bias (V, C) and epsilon of the equivalent ordinary LayerNorm over (V, C)."""
        n = self.weight.numel()
        biased = (n - 1) / n if n > 1 else 1.0  # one value alone has no unbiased variance; LayerNorm gives the bias
        return self.weight[:, 0].t() * biased**0.5, self.bias[:, 0].t(), self.EPS * biased

    def forward(self, x: Tensor) -> Tensor:
        """(..., V, C) -> (..., V, C)."""
        weight, bias, eps = self.affine()
        return F.layer_norm(x, weight.shape, weight, bias, eps)


class ChannelNorm(nn.BatchNorm1d):
    """BatchNorm over the last axis of (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view_as(x)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Gain and offset (C,) that it applies in eval mode."""
        assert self.running_mean is not None and self.running_var is not None
        gain = self.weight / torch.sqrt(self.running_var + self.eps)
        return gain, self.bias - self.running_mean * gain


def frame_norm(kind: Normalization, channels: int, nodes: int) -> FrameNorm | ChannelNorm:
    """The normalisation that a configuration names."""
    return FrameNorm(channels, nodes) if kind == "LayerNorm" else ChannelNorm(channels)


def pointwise(conv: nn.Conv2d, x: Tensor, product: Product | None = None) -> Tensor:
    """A 1x1 convolution of the last axis, (..., C_in) -> (..., C_out)."""
    weight = conv.weight.flatten(1)
    return F.linear(x, weight, conv.bias) if product is None else product(x, weight.t(), conv.bias)


class PointwiseNorm(nn.Sequential):
    """The residual of a layer that changes its channels: 1x1 convolution without bias, normalisation."""

    def __init__(self, c_in: int, c_out: int, nodes: int, normalization: Normalization) -> None:
        super().__init__(nn.Conv2d(c_in, c_out, 1, bias=False), frame_norm(normalization, c_out, nodes))
        self.product = Product()

    @property
    def conv(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self[0])

    @property
    def norm(self) -> FrameNorm | ChannelNorm:
        return cast(FrameNorm | ChannelNorm, self[1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., V, C_in) -> (..., V, C_out)."""
        out: Tensor = self.norm(pointwise(self.conv, x, self.product))
        return out


class GraphConv(nn.Module):
    """Spatial graph convolution ``h = Σ_p (A_p ∘ M_p)ᵀ · (x · W_p + b_p)`` over the nodes of each frame.

    ``edge_importance`` M is learnt or absent; ``conv`` is kept as the published 1x1 convolution whose output channels
    are the partitions' one after the other.
    """

    def __init__(self, c_in: int, c_out: int, A: Tensor, edge_importance: bool) -> None:
        super().__init__()
        self.partitions, self.nodes, _ = A.shape
        self.conv = nn.Conv2d(c_in, self.partitions * c_out, 1)
        self.edge_importance = nn.Parameter(torch.ones_like(A)) if edge_importance else None
        self.product = Product()

    def matrices(self, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The convolution as two products and a constant, for adjacency ``A`` (P, V, V).

        Returns:
            aggregation (V*P, V) with rows (node, partition), mixing (P*C_in, C_out), bias (V, C_out).
        """
        P, V = self.partitions, self.nodes
        if self.edge_importance is not None:
            A = A * self.edge_importance
        assert self.conv.bias is not None
        c_in = self.conv.in_channels
        aggregation = A.permute(2, 0, 1).reshape(V * P, V)
        mixing = self.conv.weight.view(P, -1, c_in).transpose(1, 2).reshape(P * c_in, -1)
        bias = A.sum(1).t() @ self.conv.bias.view(P, -1)
        return aggregation, mixing, bias

    def forward(self, x: Tensor, A: Tensor, frames: Tensor | None = None) -> Tensor:
        """(N, L, V, C_in) -> (N, L, V, C_out); where ``x`` is a sum of frames, ``frames`` (L,) says of how many."""
        N, L, V, _ = x.shape
        aggregation, mixing, bias = self.matrices(A)
        if self.product.rounds(mixing):
            aggregated = (aggregation @ x).view(N, L, V, -1)  # rows (node, partition) are rows (node) of P * C_in
            y: Tensor = self.product(aggregated, mixing)
        else:
            edges = A.permute(2, 0, 1).reshape(-1, V).nonzero().t()  # of the skeleton: learning adds none
            y = graph_product(x.reshape(N * L, V, -1), aggregation, mixing, edges).view(N, L, V, -1)
        return y.add_(bias if frames is None else bias * frames[:, None, None])


def temporal_conv(conv: nn.Conv2d, x: Tensor, dilation: int = 1, before: int = 0, after: int = 0) -> Tensor:
    """A learnt (taps, 1) convolution along time, zeros ``before`` and ``after``; (N, L, V, C_in) -> (N, L', V, C_out).

    Channels last seen as (N, C, L, V) is what torch calls its channels-last layout: nothing is copied.
    """
    x = F.pad(x, (0, 0, 0, 0, before, after)).permute(0, 3, 1, 2)
    return F.conv2d(x, conv.weight, conv.bias, stride=conv.stride, dilation=(dilation, 1)).permute(0, 2, 3, 1)


class _SlidingSum(torch.autograd.Function):
    """See :func:`sliding_sum`; its gradient is the same sum, run backwards in time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: int, dilation: int) -> Tensor:
        ctx.window = taps, dilation
        return _window_sums(x, taps, dilation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _window_sums(grad, *ctx.window, ahead=True), None, None


def _window_sums(x: Tensor, taps: int, dilation: int, *, ahead: bool = False) -> Tensor:
    """Sums over the window that ends (``ahead``: begins) at each frame.

    All blocks at once, a row of ``dilation`` frames after the other, so that memory is read in order: 2 to 4 times
    faster than ``cumsum``, which walks along time for each number of a frame.
    """
    N, L, V, C = x.shape
    window = taps * dilation
    blocks = -(-L // window)
    short, whole = blocks * window - L, (blocks - 1) * window  # frames that one block lacks, and those of the others
    out = x.new_empty(N, blocks * window, V, C)
    rows = out.view(N, blocks, taps, dilation * V * C)
    order = list(range(taps))
    if ahead:  # the same in reversed time: the first block is the short one
        order.reverse()
        out[:, :short], out[:, short:] = 0, x
        neighbours, joined, kept = x[:, L - whole :], rows[:, :-1], out[:, short:]
    else:
        out[:, :L], out[:, L:] = x, 0
        neighbours, joined, kept = x[:, :whole], rows[:, 1:], out[:, :L]
    for before, here in pairwise(order):
        rows[:, :, here] += rows[:, :, before]
    neighbours = neighbours.reshape(N, blocks - 1, taps, dilation * V * C)
    rest = torch.zeros_like(neighbours[:, :, 0])
    for before, here in pairwise(reversed(order)):
        rest += neighbours[:, :, before]
        joined[:, :, here] += rest
    return kept


def sliding_sum(x: Tensor, taps: int, dilation: int) -> Tensor:
    """Causal sum ``s_t = Σ_{i<taps} x_{t - i·dilation}`` along time, zeros before the start; (N, L, V, C) -> same.

    Time is cut into blocks of one window. A window is the end of one block and the start of the next, and both are
    running sums within a block: a constant number of passes over the data for any number of taps, and, as nothing is
    ever taken off a sum, no rounding error that outlives its window, unlike a difference of cumulative sums.
    """
    if x.dtype == torch.bfloat16:
        x = x.float()  # under mixed precision: a sum that frames enter and leave keeps its digits
    if taps == 1:
        return x
    out: Tensor = _SlidingSum.apply(x, taps, dilation)  # type: ignore[no-untyped-call]
    return out


class _ReluJoin(torch.autograd.Function):
    """See :func:`relu_join`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, skipped: Tensor) -> Tensor:
        out = y.relu().add_(skipped).relu_()
        ctx.save_for_backward(y, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        y, out = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, out, 0)
        return torch.ops.aten.threshold_backward(grad, y, 0), grad


def relu_join(y: Tensor, skipped: Tensor) -> Tensor:
    """``relu(relu(y) + skipped)``. Keeping ``y`` for the gradient takes a third of the time of a mask of it."""
    out: Tensor = _ReluJoin.apply(y, skipped)  # type: ignore[no-untyped-call]
    return out


def delayed(x: Tensor, frames: int) -> Tensor:
    """``x`` held back by ``frames`` along time, zeros before the start; (N, L, V, C) -> same."""
    return F.pad(x, (0, 0, 0, 0, frames, 0))[:, : x.shape[1]] if frames else x
