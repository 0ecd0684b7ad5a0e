"""What AAGCN does within the frames of a window, as part of its step graph: the adaptive graph and the attention.

::

    x (L, N, V, C) ─┬─► · W_θ, · W_φ ─► φᵀθ over frames ─► softmax ─► · α, + A + B ─► aggregation (N, V·P, V)
                    └─► aggregation · x ─► mixing, norm, ReLU ─► gates of nodes, frames, channels ─►
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from trainer.export.frames import Array, FrameGraph, GraphProduct, array
from trainer.nets.aagcn import AagcnLayer, AdaptiveGraphConv, Attention


def spatial(g: FrameGraph, layer: AagcnLayer, A: Tensor, x: str, name: str, frames: int) -> str:
    """Frames (L, N, V, C_in) -> (L, N, V, C_out)."""
    product = _adaptive(g, layer.adaptive_conv, A, x, f"{name}.graph", frames)
    y = g.spatial(product, layer.norm_spatial, x, name, lead=(frames, -1))
    return _attend(g, layer.attention, y, f"{name}.attention")


def _adaptive(g: FrameGraph, conv: AdaptiveGraphConv, A: Tensor, x: str, name: str, frames: int) -> GraphProduct:
    """The convolution with the adjacency of this window, ``A + B + α·C``."""
    P, V, E = conv.partitions, conv.nodes, conv.embedded

    def embedded(part: nn.Conv2d, which: str, scale: float, perm: tuple[int, ...], shape: tuple[int, ...]) -> str:
        y = _linear(g, part, x, f"{name}.{which}", scale)
        y = g.reshape(y, (frames, -1, V, P, E), f"{name}.{which}.partitions")
        return g.reshape(g.op("Transpose", (y,), f"{name}.{which}.turned", perm=perm), shape, f"{name}.{which}.rows")

    theta = embedded(conv.theta, "theta", 1 / (E * frames), (1, 3, 0, 4, 2), (-1, P, frames * E, V))
    phi = embedded(conv.phi, "phi", 1.0, (1, 3, 2, 0, 4), (-1, P, V, frames * E))
    alike = g.op("Softmax", (g.op("MatMul", (phi, theta), f"{name}.scores"),), f"{name}.alike", axis=-1)  # C, turned
    alike = g.op("Transpose", (alike,), f"{name}.by_node", perm=(0, 2, 1, 3))
    alike = g.reshape(alike, (-1, V * P, V), f"{name}.rows")  # (node, partition), as those of a fixed graph
    alpha, fixed = array(conv.alpha), array(A + conv.B)
    aggregation = g.affine(alike, alpha, fixed.transpose(2, 0, 1).reshape(V * P, V), f"{name}.aggregation")

    assert conv.conv.bias is not None
    weight, bias = array(conv.conv.weight).reshape(P, -1, conv.conv.in_channels), array(conv.conv.bias)
    sums = fixed.sum(1) + alpha  # of the adjacency's columns (P, V): each of C's is 1
    return GraphProduct(
        aggregation, weight.transpose(0, 2, 1).reshape(-1, weight.shape[1]), sums.T @ bias.reshape(P, -1)
    )


def _attend(g: FrameGraph, attention: Attention, x: str, name: str) -> str:
    """Frames (L, N, V, C), gated by nodes, by frames and by channels in turn."""
    reach = attention.nodes.kernel_size[0] // 2
    x = _gate(g, x, _scores(g, attention.nodes, x, f"{name}.nodes", 2, (0, reach, 0, reach)), f"{name}.nodes")
    reach = attention.frames.kernel_size[0] // 2
    x = _gate(g, x, _scores(g, attention.frames, x, f"{name}.frames", 0, (reach, 0, reach, 0)), f"{name}.frames")
    y = g.op("ReduceMean", (x,), f"{name}.channels.mean", axes=(0, 2), keepdims=1)
    first, _, last = attention.channels
    y = g.relu(_linear(g, first, y, f"{name}.channels.first"), f"{name}.channels.hidden")
    return _gate(g, x, _linear(g, last, y, f"{name}.channels.last"), f"{name}.channels")


def _scores(g: FrameGraph, conv: nn.Conv1d, x: str, name: str, axis: int, pads: tuple[int, int, int, int]) -> str:
    """A score each along ``axis`` of (L, N, V, C), from the averages over the other of frames (0) and nodes (2)."""
    y = g.op("ReduceMean", (x,), f"{name}.mean", axes=(2 - axis,), keepdims=1)
    assert conv.bias is not None
    return g.convolve(y, np.expand_dims(array(conv.weight), 2 + (axis == 0)), array(conv.bias), f"{name}.conv", pads=pads)


def _gate(g: FrameGraph, x: str, scores: str, name: str) -> str:
    """``x * (1 + sigmoid(scores))``."""
    gate = g.op("Sigmoid", (scores,), f"{name}.sigmoid")
    return g.op("Mul", (x, g.affine(gate, np.ones(1), np.ones(1), f"{name}.gate")), f"{name}.gated")


def _linear(g: FrameGraph, layer: nn.Linear | nn.Conv2d, x: str, name: str, scale: float = 1.0) -> str:
    """A linear layer or a 1x1 convolution of the last axis, its result scaled."""
    assert layer.bias is not None
    weight: Array = array(layer.weight).reshape(len(layer.bias), -1)
    return g.linear(x, scale * weight.T, scale * array(layer.bias), name)
