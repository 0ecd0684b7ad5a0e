"""CoStGcn -> its step graph: the learnt kernel over the window that the runtime keeps.

::

    x ─► graph convolution, norm, ReLU ─► entering ──► · W_now ──(+)─► norm ─► residual, ReLU
          window (taps-1, N, V, C) ─► (N, V, (taps-1)·C) ─► · W_past ─┘

One product of V rows with (taps-1)·C columns: several times faster than one small product a tap, the change of layout
included.
"""

from __future__ import annotations

from torch import Tensor

from trainer.export.frames import FrameGraph, N, array
from trainer.nets.costgcn import CoLayer, CoStGcn
from trainer.nets.layers import ChannelNorm


def build_graph(model: CoStGcn) -> FrameGraph:
    """One step of the network."""
    g = FrameGraph(model.config.graph.num_node)
    y = g.embed(model, g.streams(model))
    first = len(model.config.sensor_memories)
    for index, (layer, A) in enumerate(zip(model.layers, model.adjacencies(), strict=True), start=first):
        y = _layer(g, index, layer, A, y)
    g.classify(model, y)
    return g


def _layer(g: FrameGraph, index: int, layer: CoLayer, A: Tensor, x: str) -> str:
    """One layer: output (N, V, C_out) of input ``x`` (N, V, C_in)."""
    c_out, past, name = layer.config.out_channels, layer.config.taps - 1, f"layer{index}"
    entering = g.spatial(g.graph_product(layer.gcn, A, name), layer.norm_spatial, x, name, output=f"entering.{index}")
    g.output(entering, (N, g.nodes, c_out))

    assert layer.tcn.bias is not None
    kernel, bias = array(layer.tcn.weight)[..., 0].transpose(2, 1, 0), array(layer.tcn.bias)  # (taps, C, C_out)
    if isinstance(layer.norm_temporal, ChannelNorm):
        gain, shift = (array(part) for part in layer.norm_temporal.folded())
        kernel, bias = kernel * gain, bias * gain + shift
    y = g.linear(entering, kernel[past], bias, f"{name}.now")
    if past:
        (window,) = g.state(f"window.{index}", channels=c_out, before=(past,))
        rows = g.op("Transpose", (window,), f"{name}.by_node", perm=(1, 2, 0, 3))
        rows = g.reshape(rows, (-1, g.nodes, past * c_out), f"{name}.rows")
        y = g.op("Add", (g.linear(rows, kernel[:past].reshape(-1, c_out), None, f"{name}.past"), y), f"{name}.both")
    if not isinstance(layer.norm_temporal, ChannelNorm):
        y = g.frame_norm(y, layer.norm_temporal, f"{name}.norm_temporal")
    return g.join(y, x, layer.config, layer.residual, index)
