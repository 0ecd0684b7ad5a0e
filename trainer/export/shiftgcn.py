"""ShiftGcn -> its step graph: two windows of past frames a layer, one for each shift along time.

::

    x ─► nodes shifted, mask, 1x1, back, norm, (+ x), ReLU ─► entering.2i ───► shift ─► 1x1, ReLU ─► entering.2i+1 ─►
                                                              window.2i ───────┘                      window.2i+1 ─►
         shift ─► norm ─► residual, ReLU ─►

The learnt shifts are fixed once trained: a weight of every frame and channel, of which two a channel are not zero. As
products and a sum over the window that is four nodes, and half the time of picking those two (Gather needs the window
in another layout); a window of 69 frames would be picked faster, by GatherElements, but costs a device 18 such windows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from trainer.export.frames import FrameGraph, N, array
from trainer.nets.layers import ChannelNorm, FrameNorm
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
    spatial = _spatial(g, name, memory, layer, x)
    assert layer.mix_time.bias is not None
    y = _shifted(g, memory, layer.past_in, spatial)
    weight, bias = array(layer.mix_time.weight)[:, :, 0, 0].T, array(layer.mix_time.bias)
    mixed = g.op("Relu", (g.linear(y, weight, bias, f"{name}.time"),), f"entering.{memory + 1}")
    y = _normed(g, layer.norm_temporal, _shifted(g, memory + 1, layer.past_out, mixed), f"{name}.norm_temporal")
    if layer.config.residual == "none":
        return g.relu(y, f"{name}.out")
    return g.add_relu(y, g.shortcut(layer.residual, x, name), name)
