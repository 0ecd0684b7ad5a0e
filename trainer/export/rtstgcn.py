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

import numpy as np
from torch import Tensor, nn

from trainer.export import sums
from trainer.export.frames import FrameGraph, N, array
from trainer.nets.layers import ChannelNorm, FrameNorm
from trainer.nets.network_config import LayerConfig
from trainer.nets.rtstgcn import Layer, RtStgcn


def build_graph(model: RtStgcn) -> FrameGraph:
    """One step of the network."""
    g = FrameGraph(model.config.graph.num_node)
    streams = g.streams(model)
    y = g.embed(model, streams)
    first = len(model.config.sensor_memories)
    for index, layer in enumerate(model.layers, start=first):
        y = _layer(g, index, layer, model.A, y)
    logits = _with_lifts(g, model, g.logits(model, y, keepdims=1), streams)
    if model.config.averaging is None:
        g.output(g.reshape(logits, (-1, len(model.config.labels)), "logits"), (N, len(model.config.labels)))
    else:
        _averaged(g, first + len(model.layers), model.config.averaging, logits)
    return g


def _with_lifts(g: FrameGraph, model: RtStgcn, logits: str, streams: str) -> str:
    """Logits (N, 1, classes) and what the lift windows of the streams (N, V, C) say, the same at each node."""
    if model.lift_head is None:
        return logits
    assert model.config.sensors is not None
    lifts = model.config.sensors.lifts
    bounds = {"start": (0, lifts.start), "stop": (1, lifts.stop), "axis": (1, 2)}
    parts = [g.weight(f"lifts.{name}", np.array(values, np.int64)) for name, values in bounds.items()]
    y = g.op("Slice", (streams, *parts), "lifts")
    for index, layer in enumerate(model.lift_head):
        name = f"lifts.{index}"
        y = g.pointwise(layer, y, name) if isinstance(layer, nn.Linear) else g.relu(y, name)
    return g.op("Add", (logits, y), "lifts.logits")


def _averaged(g: FrameGraph, index: int, window: LayerConfig, logits: str) -> None:
    """The output ``logits``: a frame's (N, 1, classes), averaged over a window."""
    shape = (N, g.nodes, window.out_channels)
    remaining = sums.remaining(g, index, shape)
    everywhere = g.weight("average.nodes", np.ones((g.nodes, 1)))
    entering = g.op("Mul", (logits, everywhere), f"entering.{index}")
    g.order[entering] = remaining
    total = sums.total(g, index, remaining, entering, shape)
    held = g.input(f"residual_leaving.{index}", shape)
    both = g.op("Add", (total, held), "average.sum")
    # the same memory as the frame that leaves: read into the sum first
    g.output(g.reshape(entering, (-1, *shape[1:]), f"residual_entering.{index}", after=both), shape)
    mean = g.op("ReduceMean", (both,), "average.mean", axes=(1,), keepdims=0)  # the nodes hold the same
    factor = g.weight("average.factor", np.array([1 / (window.taps + 1)]))
    g.output(g.op("Mul", (mean, factor), "logits"), (N, window.out_channels))


def _layer(g: FrameGraph, index: int, layer: Layer, A: Tensor, x: str) -> str:
    """One layer: output (N, V, C_out) of input ``x`` (N, V, C_in)."""
    c_out, name = layer.config.out_channels, f"layer{index}"
    shape = (N, g.nodes, c_out)
    remaining = sums.remaining(g, index, shape)
    norm = layer.bn_relu[0]

    # A BatchNorm after the sum: its gain goes into the frames that are summed, its shift is added once
    gain = array(norm.folded()[0]) if isinstance(norm, ChannelNorm) else None
    product = g.graph_product(layer, A, name)
    entering = g.graph_conv(product, x, name, gain=gain, after=remaining, output=f"entering.{index}")
    total = sums.total(g, index, remaining, entering, shape)

    if isinstance(norm, FrameNorm):
        y = g.frame_norm(total, norm, f"{name}.norm")
    else:
        assert isinstance(norm, ChannelNorm)
        y = g.op("Add", (total, g.weight(f"{name}.shift", array(norm.folded()[1]))), f"{name}.norm")
    return g.join(g.relu(y, f"{name}.relu"), x, layer.config, layer.residual, index)
