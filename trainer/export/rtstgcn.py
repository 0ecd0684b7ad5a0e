"""RtStgcn -> its step graph, two MatMuls a layer.

::

    x (N, V, C) ─► A·x (N, V·P, C) ─► seen as (N, V, P·C) ─► ·W + b ─► entering
                                                               │
    sum ─(−)─► remaining ─────────────────────────────────────(+)─► sum.out ─► norm, ReLU, residual, ReLU
          │         ┊ written before                           │
       leaving      ┊ anything below it            fresh ─────(+)─► fresh.out

The runtime gives ``leaving`` and ``entering`` the same memory, so ``sum - leaving`` has to be computed before
``entering`` is written. Left to itself onnxruntime does it the other way round; the dotted line is the dependency that
prevents it, see ``trainer.export.order``.
"""

from __future__ import annotations

from torch import Tensor

from trainer.export.frames import FrameGraph, N, array
from trainer.nets.layers import ChannelNorm, FrameNorm
from trainer.nets.rtstgcn import Layer, RtStgcn


def build_graph(model: RtStgcn) -> FrameGraph:
    """One step of the network."""
    g = FrameGraph(model.config.graph.num_node)
    y = g.embed(model, g.streams(model))
    for index, layer in enumerate(model.layers, start=len(model.config.memories) - len(model.layers)):
        y = _layer(g, index, layer, model.A, y)
    g.classify(model, y)
    return g


def _layer(g: FrameGraph, index: int, layer: Layer, A: Tensor, x: str) -> str:
    """One layer: output (N, V, C_out) of input ``x`` (N, V, C_in)."""
    c_out, name = layer.config.out_channels, f"layer{index}"
    running, fresh, leaving = g.state(f"sum.{index}", f"fresh.{index}", f"leaving.{index}", channels=c_out)
    remaining = g.op("Sub", (running, leaving), f"{name}.remaining")
    norm = layer.bn_relu[0]

    # A BatchNorm after the sum: its gain goes into the frames that are summed, its shift is added once
    gain = array(norm.folded()[0]) if isinstance(norm, ChannelNorm) else None
    entering = g.graph_conv(layer, A, x, name, gain=gain, after=remaining, output=f"entering.{index}")
    total = g.op("Add", (remaining, entering), f"sum.{index}.out")
    g.op("Add", (fresh, entering), f"fresh.{index}.out")
    for output in (total, f"fresh.{index}.out", entering):
        g.output(output, (N, g.nodes, c_out))

    if isinstance(norm, FrameNorm):
        y = g.frame_norm(total, norm, f"{name}.norm")
    else:
        assert isinstance(norm, ChannelNorm)
        y = g.op("Add", (total, g.weight(f"{name}.shift", array(norm.folded()[1]))), f"{name}.norm")
    return g.join(g.relu(y, f"{name}.relu"), x, layer.config, layer.residual, index)
