"""The two products of a graph convolution over many frames, a few frames at a time.

Over whole trials the aggregated frames are the largest tensor of a network: as many times the input as there are
partitions, made only to be multiplied once more. Here they live in a buffer that stays in the cache, and are computed
again for the gradient. On a CPU (one core, 25 nodes, 64 to 256 channels) a product runs at 40 GMAC/s into such a
buffer, against 18 to 30 into freshly mapped memory, and a training step keeps half as much.

A skeleton has few bones: of the 1875 numbers that aggregate 25 nodes in 3 partitions 73 are not zero. Adding up
weighted nodes takes a fifth of the time of the dense product (0.04 ms for 54 frames of 64 channels, against 0.19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 1 << 18  # numbers of the buffer, 1 MB: 54 frames of 25 nodes, 3 partitions, 64 channels

Spread = Callable[[Tensor], Tensor]  # frames (n, columns, C) -> (n * rows, C)


class _GraphProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, aggregation: Tensor, mixing: Tensor, edges: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, aggregation, mixing, edges)
        aggregate = _spread(aggregation, edges, _at_once(x, aggregation))
        out = x.new_empty(*x.shape[:2], mixing.shape[1])
        for frames in _frames(x, aggregation):
            n, _, c_out = out[frames].shape
            torch.mm(aggregate(x[frames]).view(n * x.shape[1], -1), mixing, out=out[frames].view(-1, c_out))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, aggregation, mixing, edges = ctx.saved_tensors
        grad, unmixing = grad.contiguous(), mixing.t().contiguous()
        d_x = torch.empty_like(x)
        d_mixing = torch.zeros_like(mixing, dtype=_precise(x))
        weights = _Weights(aggregation, edges, x.shape[2])
        size = _at_once(x, aggregation)
        aggregate = _spread(aggregation, edges, size)
        gather = _spread(aggregation.t(), None if edges is None else edges.flip(0), size)
        for frames in _frames(x, aggregation):
            rows = grad[frames].flatten(0, 1)
            aggregated = aggregate(x[frames]).view(len(rows), -1)
            _add_product(d_mixing, aggregated.t(), rows)
            d = (rows @ unmixing).view(-1, aggregation.shape[0], x.shape[2])
            d_x[frames] = gather(d).view_as(x[frames])
            weights.add(d, x[frames])
        return d_x, weights.gradient.to(x.dtype), d_mixing.to(x.dtype), None


def _precise(x: Tensor) -> torch.dtype:
    """What sums over frames are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:  # mixed precision
        total += a @ b


def _at_once(x: Tensor, aggregation: Tensor) -> int:
    """How many frames of ``x`` (F, V, C) are aggregated at once."""
    frames, _, channels = x.shape
    return max(1, frames if x.is_cuda else min(frames, AT_ONCE // (len(aggregation) * channels)))


def _frames(x: Tensor, aggregation: Tensor) -> Iterator[slice]:
    size = _at_once(x, aggregation)
    return (slice(start, min(start + size, len(x))) for start in range(0, len(x), size))


def _spread(matrix: Tensor, edges: Tensor | None, size: int) -> Spread:
    """``matrix`` (rows, columns) times each of up to ``size`` frames."""
    if edges is None:
        return lambda x: torch.bmm(matrix.expand(len(x), -1, -1), x).flatten(0, 1)
    rows, columns = edges[:, edges[0].argsort(stable=True)]
    count = torch.bincount(rows, minlength=len(matrix)).repeat(size)
    starts, weights = count.cumsum(0) - count, matrix[rows, columns].repeat(size)
    places = (columns + matrix.shape[1] * torch.arange(size)[:, None]).flatten()

    def spread(x: Tensor) -> Tensor:
        n, k = len(x) * len(matrix), len(x) * len(rows)
        flat = x.flatten(0, 1)
        return F.embedding_bag(places[:k], flat, starts[:n], mode="sum", per_sample_weights=weights[:k])

    return spread


class _Weights:
    """Adds up the gradient of the aggregation, of the ``edges`` alone where they are given."""

    def __init__(self, aggregation: Tensor, edges: Tensor | None, channels: int) -> None:
        self._edges = edges
        self._gradient = torch.zeros_like(aggregation, dtype=_precise(aggregation))
        self._products = self._gradient.new_zeros(0 if edges is None else edges.shape[1], channels)

    def add(self, d: Tensor, x: Tensor) -> None:
        """Of frames with the gradient ``d`` (n, rows, C) and the nodes ``x`` (n, V, C)."""
        if self._edges is None:
            self._gradient += torch.bmm(d, x.transpose(1, 2)).sum(0)
        else:
            rows, columns = self._edges
            self._products += d.index_select(1, rows).mul_(x.index_select(1, columns)).sum(0)

    @property
    def gradient(self) -> Tensor:
        if self._edges is not None:
            self._gradient[self._edges[0], self._edges[1]] = self._products.sum(1)
        return self._gradient


def graph_product(x: Tensor, aggregation: Tensor, mixing: Tensor, edges: Tensor | None = None) -> Tensor:
    """``(aggregation · x_t, its rows by node) · mixing`` of every frame, with gradients for all three.

    Args:
        x: (F, V, C_in).
        aggregation: (V*P, V), rows (node, partition).
        mixing: (P*C_in, C_out).
        edges: (2, K) rows and columns outside of which ``aggregation`` is zero and wants no gradient.

    Returns:
        (F, V, C_out).
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, aggregation, mixing = x.to(dtype), aggregation.to(dtype), mixing.to(dtype)
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        edges = None  # dense is faster there
    out: Tensor = _GraphProduct.apply(x.contiguous(), aggregation, mixing, edges)  # type: ignore[no-untyped-call]
    return out
