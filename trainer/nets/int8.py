"""The int8 of a device with gradients: what quantization-aware training sees of it.

``edge-quantize --mode dynamic`` rounds the weights of a product to 7 bits a column, once, and its input to 8 bits, a
range a step. Training rounds the same way and lets the gradient pass as if nothing had been rounded, so that the
weights settle where rounding hurts least. What is exported is still fp32: ``edge-quantize`` makes the same integers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.quantization.matmul import ACTIVATION_MAX, MIN_WEIGHTS, WEIGHT_MAX


class Product(nn.Module):
    """``x @ weight + bias``, in fp32 until :func:`train_for_int8`."""

    int8 = False

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Whole trials (N, L, ..., inner) -> (N, L, ..., outer); weight (inner, outer)."""
        if self.rounds(weight):
            x, weight = rounded_frames(x), rounded_columns(weight)
        return F.linear(x, weight.t(), bias)

    def rounds(self, weight: Tensor) -> bool:
        """Whether this product is in int8 on the device: not when it is too small to gain by it."""
        return self.int8 and weight.numel() >= MIN_WEIGHTS


def train_for_int8(net: nn.Module) -> None:
    """From now on every product of ``net`` that a device computes in int8 is rounded as it is there."""
    for module in net.modules():
        if isinstance(module, Product):
            module.int8 = True


def rounded_columns(weight: Tensor) -> Tensor:
    """``weight`` (inner, outer) as its 7-bit columns stand for it; the gradient is the identity's."""
    scale = (weight.detach().abs().amax(0) / WEIGHT_MAX).clamp(min=torch.finfo(weight.dtype).tiny)
    return weight + ((weight / scale).round() * scale - weight).detach()


def rounded_frames(x: Tensor) -> Tensor:
    """``x`` (N, L, ..., C) with 8 bits a number, each frame in its own range; the gradient is the identity's."""
    frames = x.detach().flatten(2)
    low, high = frames.amin(2, keepdim=True).clamp(max=0), frames.amax(2, keepdim=True).clamp(min=0)
    scale = ((high - low) / ACTIVATION_MAX).clamp(min=torch.finfo(x.dtype).tiny)
    zero = (-low / scale).round()
    stored = ((frames / scale).round() + zero).clamp(0, ACTIVATION_MAX)
    return x + (((stored - zero) * scale).view_as(x) - x).detach()
