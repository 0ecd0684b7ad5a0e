"""What AAGCN does within the frames of a window, as part of its step graph: the adaptive graph and the attention.

::

    x (L, N, V, C) ─┬─► · W_θ, · W_φ ─► φᵀθ over frames ─► softmax ─► · α, + A + B ─► aggregation (N, V·P, V)
                    └─► aggregation · x ─► mixing, norm, ReLU ─► gates of nodes, frames, channels ─►
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from trainer.export.frames import FrameGraph, GraphProduct, array
from trainer.nets.aagcn import AagcnLayer, AdaptiveGraphConv, Attention


def spatial(g: FrameGraph, layer: AagcnLayer, A: Tensor, x: str, name: str, frames: int) -> str:
    """Frames (L, N, V, C_in) -> (L, N, V, C_out)."""
    product = _adaptive(g, layer.adaptive_conv, A, x, f"{name}.graph", frames)
    y = g.spatial(product, layer.norm_spatial, x, name, lead=(frames, -1))
    return _attend(g, layer.attention, y, f"{name}.attention")


def _adaptive(g: FrameGraph, conv: AdaptiveGraphConv, A: Tensor, x: str, name: str, frames: int) -> GraphProduct:
    """The convolution with the adjacency of this window, ``A + B + α·C``."""
    P, V, E = conv.partitions, conv.nodes, conv.embedded

    def embedded(y: str, perm: tuple[int, ...], shape: tuple[int, ...]) -> str:
        rows = g.op("Transpose", (g.reshape(y, (frames, -1, V, P, E), f"{y}.partitions"),), f"{y}.turned", perm=perm)
        return g.reshape(rows, shape, f"{y}.rows")

    theta = g.pointwise(conv.theta, x, f"{name}.theta", gain=np.array(1 / (E * frames)))
    theta = embedded(theta, (1, 3, 0, 4, 2), (-1, P, frames * E, V))
    phi = embedded(g.pointwise(conv.phi, x, f"{name}.phi"), (1, 3, 2, 0, 4), (-1, P, V, frames * E))
    alike = g.op("Softmax", (g.op("MatMul", (phi, theta), f"{name}.scores"),), f"{name}.alike", axis=-1)  # C, turned
    alike = g.op("Transpose", (alike,), f"{name}.by_node", perm=(0, 2, 1, 3))
    alike = g.reshape(alike, (-1, V * P, V), f"{name}.rows")  # (node, partition), as those of a fixed graph
    alpha, fixed = array(conv.alpha), array(A + conv.B)
    aggregation = g.affine(alike, alpha, fixed.transpose(2, 0, 1).reshape(V * P, V), f"{name}.aggregation")

    assert conv.conv.bias is not None
    c_in, c_out = conv.conv.in_channels, conv.conv.out_channels // P
    mixing = array(conv.conv.weight).reshape(P, c_out, c_in).transpose(0, 2, 1).reshape(P * c_in, c_out)
    sums = fixed.sum(1) + alpha  # of the adjacency's columns, (P, V): those of C are 1
    return GraphProduct(aggregation, mixing, sums.T @ array(conv.conv.bias).reshape(P, c_out))


def _attend(g: FrameGraph, attention: Attention, x: str, name: str) -> str:
    """Frames (L, N, V, C), gated by nodes, by frames and by channels in turn: each by the averages over the others."""
    for part, conv, others in (("nodes", attention.nodes, 0), ("frames", attention.frames, 2)):
        mean = g.op("ReduceMean", (x,), f"{name}.{part}.mean", axes=(others,), keepdims=1)
        reach = conv.kernel_size[0] // 2
        pads = (reach, 0) if part == "frames" else (0, reach)
        assert conv.bias is not None
        weight = np.expand_dims(array(conv.weight), 3 if part == "frames" else 2)  # (1, C, frames, nodes)
        scores = g.convolve(mean, weight, array(conv.bias), f"{name}.{part}.conv", pads=(*pads, *pads))
        x = _gate(g, x, scores, f"{name}.{part}")
    mean = g.op("ReduceMean", (x,), f"{name}.channels.mean", axes=(0, 2), keepdims=1)
    first, _, last = attention.channels
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    hidden = g.relu(g.pointwise(first, mean, f"{name}.channels.first"), f"{name}.channels.hidden")
    return _gate(g, x, g.pointwise(last, hidden, f"{name}.channels.last"), f"{name}.channels")


def _gate(g: FrameGraph, x: str, scores: str, name: str) -> str:
    """``x * (1 + sigmoid(scores))``."""
    gate = g.op("Sigmoid", (scores,), f"{name}.sigmoid")
    return g.op("Mul", (x, g.affine(gate, np.ones(1), np.ones(1), f"{name}.gate")), f"{name}.gated")
