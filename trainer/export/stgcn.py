"""StGcn, Aagcn -> their step graphs: the frames that the runtime keeps and the newest, the whole network over them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from trainer.export import aagcn
from trainer.export.frames import FrameGraph, N, array
from trainer.nets.aagcn import AagcnLayer
from trainer.nets.layers import ChannelNorm
from trainer.nets.stgcn import SlidingWindow, StgcnLayer


def build_graph(model: SlidingWindow) -> FrameGraph:
    """One step of the network; frames of a window are (L, N, V, C)."""
    g = FrameGraph(model.config.graph.num_node)
    index, past, channels = len(model.config.sensor_memories), model.window - 1, model.stream_channels
    entering = g.op("Identity", (g.streams(model),), f"entering.{index}")
    g.output(entering, (N, g.nodes, channels))
    y = g.reshape(entering, (1, -1, g.nodes, channels), "newest")
    if past:
        (window,) = g.state(f"window.{index}", channels=channels, before=(past,))
        y = g.op("Concat", (window, y), "frames", axis=0)
    y, frames = g.embed(model, y), model.window
    for number, (layer, A) in enumerate(zip(model.layers, model.adjacencies(), strict=True)):
        y = _layer(g, f"layer{number}", layer, A, y, frames)
        frames = -(-frames // layer.config.dilation)
    g.classify(model, y, axes=(0, 2))
    return g


def _layer(g: FrameGraph, name: str, layer: StgcnLayer, A: Tensor, x: str, frames: int) -> str:
    """One layer: (frames, N, V, C_in) -> (frames / stride, N, V, C_out)."""
    if isinstance(layer, AagcnLayer):
        y = aagcn.spatial(g, layer, A, x, name, frames)
    else:
        y = g.spatial(g.graph_product(layer.graph_conv, A, name), layer.norm_spatial, x, name, lead=(frames, -1))
    taps, stride = layer.config.taps, layer.config.dilation
    assert layer.tcn.bias is not None
    weight, bias = array(layer.tcn.weight), array(layer.tcn.bias)
    if isinstance(layer.norm_temporal, ChannelNorm):
        gain, shift = (array(part) for part in layer.norm_temporal.folded())
        weight, bias = weight * gain[:, None, None, None], bias * gain + shift
    after = taps // 2
    y = g.convolve(y, weight, bias, f"{name}.temporal", pads=(taps - 1 - after, 0, after, 0), stride=stride)
    if not isinstance(layer.norm_temporal, ChannelNorm):
        y = g.frame_norm(y, layer.norm_temporal, f"{name}.norm_temporal")
    if layer.config.residual == "none":
        return g.relu(y, f"{name}.out")
    kept = x
    if stride > 1:
        bounds = (0, frames, 0, stride)  # start, end, axis, step
        parts = [g.weight(f"{name}.kept.{i}", np.array([value], np.int64)) for i, value in enumerate(bounds)]
        kept = g.op("Slice", (x, *parts), f"{name}.kept")
    return g.add_relu(y, g.shortcut(layer.residual, kept, name), name)
