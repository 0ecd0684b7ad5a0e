"""The two products of a graph convolution over many frames, a few frames at a time.

Over whole trials the aggregated frames are the largest tensor of a network: as many times the input as there are
partitions, made only to be multiplied once more. Here they live in a buffer that stays in the cache, and are computed
again for the gradient. On a CPU (one core, 25 nodes, 64 to 256 channels) a product runs at 40 GMAC/s into such a
buffer, against 18 to 30 into freshly mapped memory, and a training step keeps half as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

AT_ONCE = 1 << 18  # numbers of the buffer, 1 MB: 54 frames of 25 nodes, 3 partitions, 64 channels


class _GraphProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, aggregation: Tensor, mixing: Tensor) -> Tensor:
        ctx.save_for_backward(x, aggregation, mixing)
        out = x.new_empty(*x.shape[:2], mixing.shape[1])
        for frames, aggregated in _aggregated(x, aggregation):
            torch.mm(aggregated, mixing, out=out[frames].view(-1, mixing.shape[1]))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, aggregation, mixing = ctx.saved_tensors
        grad = grad.contiguous()
        d_x = torch.empty_like(x)
        d_aggregation, d_mixing = (torch.zeros_like(part, dtype=torch.float32) for part in (aggregation, mixing))
        spread, unmixing = aggregation.t().contiguous(), mixing.t().contiguous()
        buffer = x.new_empty(0)
        for frames, aggregated in _aggregated(x, aggregation):
            g, n = grad[frames], frames.stop - frames.start
            rows = g.view(-1, g.shape[2])
            d_mixing += aggregated.t() @ rows
            if buffer.shape != aggregated.shape:
                buffer = torch.empty_like(aggregated)
            d = torch.mm(rows, unmixing, out=buffer).view(n, aggregation.shape[0], -1)
            torch.bmm(spread.expand(n, -1, -1), d, out=d_x[frames])
            d_aggregation += torch.bmm(d, x[frames].transpose(1, 2)).sum(0)
        return d_x, d_aggregation.to(x.dtype), d_mixing.to(x.dtype)


def _aggregated(x: Tensor, aggregation: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Some frames of ``x`` (F, V, C) and, in a buffer that the next ones take over, their (frames * V, P * C)."""
    F, V, C = x.shape
    rows = aggregation.shape[0]
    size = max(1, F if x.is_cuda else AT_ONCE // (rows * C))
    buffer = x.new_empty(min(F, size), rows, C)
    for start in range(0, F, size):
        n = min(size, F - start)
        out = torch.bmm(aggregation.expand(n, -1, -1), x[start : start + n], out=buffer[:n])
        yield slice(start, start + n), out.view(n * V, -1)


def graph_product(x: Tensor, aggregation: Tensor, mixing: Tensor) -> Tensor:
    """``(aggregation · x_t, its rows by node) · mixing`` of every frame, with gradients for all three.

    Args:
        x: (F, V, C_in).
        aggregation: (V*P, V), rows (node, partition).
        mixing: (P*C_in, C_out).

    Returns:
        (F, V, C_out).
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, aggregation, mixing = x.to(dtype), aggregation.to(dtype), mixing.to(dtype)
    out: Tensor = _GraphProduct.apply(x.contiguous(), aggregation, mixing)  # type: ignore[no-untyped-call]
    return out
