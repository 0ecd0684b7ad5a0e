"""ShiftGcn -> its step graph: two windows of past frames a layer, one for each shift along time.

::

    x ─► nodes shifted, mask, 1x1, nodes back, norm, (+ x), ReLU ─► entering.i ──► shift ─► 1x1, ReLU ─► entering.i+1
                                                      window.i ────────┘                 window.i+1 ────────┐
                                                               residual, ReLU ◄─ norm ◄──────────────── shift

A learnt shift is a constant once trained: a weight for each frame and channel, of which two a channel are not zero. All
are multiplied and added up, which is faster than picking those two (21 against 34 us, eight frames of 25 nodes of 256
channels) and than a ReduceSum (47 us). Nodes change places by GatherElements (12 us; a Gather of single values 59).
"""

from __future__ import annotations

import numpy as np

from trainer.export.frames import FrameGraph, N, array
from trainer.nets.layers import ChannelNorm
from trainer.nets.shiftgcn import FrameShift, NodeShift, ShiftGcn, ShiftLayer


def build_graph(model: ShiftGcn) -> FrameGraph:
    """One step of the network."""
    g = FrameGraph(model.config.graph.num_node)
    y = g.embed(model, g.streams(model))
    first = len(model.config.sensor_memories)
    for number, layer in enumerate(model.layers):
        y = _layer(g, f"layer{number}", first + 2 * number, layer, y)
    g.classify(model, y)
    return g


def _layer(g: FrameGraph, name: str, memory: int, layer: ShiftLayer, x: str) -> str:
    """One layer: output (N, V, C_out) of input ``x`` (N, V, C_in)."""
    y = g.op("Add", (_spatial(g, name, layer, x), g.shortcut(layer.down, x, f"{name}.down")), f"{name}.spatial")
    y = _shifted(g, memory, layer.past_in, g.relu(y, f"entering.{memory}"))
    y = g.relu(g.pointwise(layer.mix_time, y, f"{name}.time"), f"entering.{memory + 1}")
    y = _shifted(g, memory + 1, layer.past_out, y)
    if isinstance(layer.norm_temporal, ChannelNorm):
        gain, offset = (array(part) for part in layer.norm_temporal.folded())
        y = g.affine(y, gain, offset, f"{name}.norm_temporal")
    else:
        y = g.frame_norm(y, layer.norm_temporal, f"{name}.norm_temporal")
    if layer.config.residual == "none":
        return g.relu(y, f"{name}.out")
    return g.add_relu(y, g.shortcut(layer.residual, x, name), name)


def _spatial(g: FrameGraph, name: str, layer: ShiftLayer, x: str) -> str:
    """Nodes shifted, mixed, shifted back, normalised, (N, V, C_in) -> (N, V, C_out)."""
    y = _moved(g, layer.shift_in, x, f"{name}.shift_in")
    y = g.op("Mul", (y, g.weight(f"{name}.mask", np.tanh(array(layer.mask)) + 1)), f"{name}.masked")
    norm = layer.norm_spatial
    if isinstance(norm, ChannelNorm):  # it treats all nodes alike: before they are shifted back or after
        gain, shift = (array(part) for part in norm.folded())
        y = g.pointwise(layer.mix, y, f"{name}.mix", gain=gain, shift=shift)
        return _moved(g, layer.shift_out, y, f"{name}.shift_out")
    y = _moved(g, layer.shift_out, g.pointwise(layer.mix, y, f"{name}.mix"), f"{name}.shift_out")
    return g.frame_norm(y, norm, f"{name}.norm")


def _moved(g: FrameGraph, shift: NodeShift, x: str, name: str) -> str:
    """Each channel of (N, V, C) from another node."""
    source = g.weight(f"{name}.source", shift.source.cpu().numpy().astype(np.int32)[None])
    sources = g.op("Expand", (source, g.op("Shape", (x,), f"{name}.shape")), f"{name}.sources")
    return g.op("GatherElements", (x, sources), name, axis=1)


def _shifted(g: FrameGraph, memory: int, shift: FrameShift, entering: str) -> str:
    """Each channel of (N, V, C) from its moment in the past."""
    name, kernel = f"shift{memory}", array(shift.kernel())
    channels = kernel.shape[1]
    g.output(entering, (N, g.nodes, channels))
    y = g.op("Mul", (entering, g.weight(f"{name}.now", kernel[-1])), f"{name}.present")
    if not shift.reach:
        return y
    (window,) = g.state(f"window.{memory}", channels=channels, before=(shift.reach,))
    past = g.op("Mul", (window, g.weight(f"{name}.past", kernel[:-1, None, None])), f"{name}.weighted")
    past = g.reshape(past, (shift.reach, -1), f"{name}.frames")
    past = g.op("MatMul", (g.weight(f"{name}.ones", np.ones((1, shift.reach))), past), f"{name}.sum")
    return g.op("Add", (g.reshape(past, (-1, g.nodes, channels), f"{name}.before"), y), name)
