"""The two networks that RT-ST-GCN is measured against, as step graphs for the same runtime, random weights.

- *CoST-GCN* (Hedegaard et al., 2023): ST-GCN frame by frame. Its temporal kernel is learnt, so each step multiplies the
  whole window of Γ frames; its residual waits Γ // 2 frames.
- *ST-GCN* (Yan et al., 2018) by sliding window: the offline network over the last R frames, all of it at every step.

Spatial convolution, widths and classifier are those of the published RT-ST-GCN (``benchmarks.networks``), written
with the same two MatMuls, so that time is all that differs.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.networks import CHANNELS, CLASSES, PKU_MMD, STRIDES
from edge_runtime.models.metadata import RtStgcnLayer, RtStgcnMetadata, to_props
from trainer.nets.graph import load_graph

NODES = 25
PARTITIONS = 3
IN_CHANNELS = 3
STGCN_FRAMES = 50  # the published receptive field for PKU-MMD
STGCN_KERNEL = 9


class _Graph:
    """Nodes, weights, inputs and outputs, gathered by name."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add an operator and return its output."""
        output = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, value: npt.NDArray[np.generic]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int) -> str:
        """A random weight; all axes but the last are summed over."""
        scale = 1 / np.sqrt(np.prod(shape[:-1]))
        return self.constant((scale * self._random.standard_normal(shape)).astype(np.float32))

    def input(self, name: str, *shape: int | str) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str, *shape: int | str) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def spatial(self, x: str, c_in: int, c_out: int, output: str | None = None) -> str:
        """(B, V, C_in) -> (B, V, C_out): aggregate over the partitions' neighbours, then mix channels."""
        spread = self.op("MatMul", [self.weight(NODES * PARTITIONS, NODES), x])  # (B, V*P, C)
        shape = self.constant(np.array([0, NODES, PARTITIONS * c_in]))
        stacked = self.op("Reshape", [spread, shape])  # (B, V, P*C)
        mixed = self.op("MatMul", [stacked, self.weight(PARTITIONS * c_in, c_out)])
        return self.op("Add", [mixed, self.weight(NODES, c_out)], output)

    def norm(self, x: str, channels: int) -> str:
        """BatchNorm as it is exported: a shift; its gain is folded into the weights."""
        return self.op("Add", [x, self.weight(channels)])

    def classify(self, x: str, *axes: int) -> None:
        pooled = self.op("ReduceMean", [x], axes=list(axes), keepdims=0)
        self.op("MatMul", [pooled, self.weight(CHANNELS[-1], CLASSES)], "logits")
        self.output("logits", "N", CLASSES)

    def save(self, name: str, layers: tuple[RtStgcnLayer, ...], path: Path) -> Path:
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        metadata = RtStgcnMetadata(
            kind="rtstgcn",
            in_channels=IN_CHANNELS,
            graph=load_graph(PKU_MMD),
            labels=tuple(f"class {i}" for i in range(CLASSES)),
            layers=layers,
            fps=30.0,
            name=name,
        )
        helper.set_model_props(model, to_props(metadata))
        path.write_bytes(model.SerializeToString())
        return path


def costgcn(gamma: int, path: Path) -> Path:
    """Write CoST-GCN's step graph with temporal kernels of ``gamma`` taps."""
    g = _Graph()
    y = g.op("Transpose", [g.input("x", "N", IN_CHANNELS, NODES)], perm=[0, 2, 1])
    y = g.op("MatMul", [y, g.weight(IN_CHANNELS, CHANNELS[0])])
    layers = []
    for i, (c_in, c_out) in enumerate(itertools.pairwise(CHANNELS)):
        layers.append(RtStgcnLayer(c_in, c_out, gamma, 1, residual_delay=gamma // 2, memory="window"))
        h = g.op("Relu", [g.spatial(y, c_in, c_out)], f"entering.{i}")
        g.output(h, "N", NODES, c_out)
        window = g.input(f"window.{i}", gamma - 1, "N", NODES, c_out)
        # one product of (V, Γ C) with (Γ C, C): several times faster than Γ small ones, the transpose included
        shape = g.constant(np.array([-1, NODES, (gamma - 1) * c_out]))
        rows = g.op("Reshape", [g.op("Transpose", [window], perm=[1, 2, 0, 3]), shape])
        past = g.op("MatMul", [rows, g.weight((gamma - 1) * c_out, c_out)])
        total = g.op("Add", [past, g.op("MatMul", [h, g.weight(c_out, c_out)])])
        g.op("Identity", [y], f"residual_entering.{i}")
        g.output(f"residual_entering.{i}", "N", NODES, c_in)
        residual = g.input(f"residual_leaving.{i}", "N", NODES, c_in)
        if c_in != c_out or STRIDES[i] != 1:
            residual = g.norm(g.op("MatMul", [residual, g.weight(c_in, c_out)]), c_out)
        y = g.op("Relu", [g.op("Add", [g.norm(total, c_out), residual])])
    g.classify(y, 1)
    return g.save(f"costgcn {gamma}", tuple(layers), path)


def stgcn(path: Path) -> Path:
    """Write ST-GCN over a sliding window of ``STGCN_FRAMES``; strides halve the frames as published."""
    g = _Graph()
    frame = g.op("Transpose", [g.input("x", "N", IN_CHANNELS, NODES)], "entering.0", perm=[0, 2, 1])
    g.output(frame, "N", NODES, IN_CHANNELS)
    window = g.input("window.0", STGCN_FRAMES - 1, "N", NODES, IN_CHANNELS)
    newest = g.op("Unsqueeze", [frame, g.constant(np.array([0]))])
    y = g.op("Concat", [window, newest], axis=0)  # (R, N, V, C)
    y = g.op("Reshape", [y, g.constant(np.array([STGCN_FRAMES, NODES, IN_CHANNELS]))])  # one body: N = 1
    y = g.op("MatMul", [y, g.weight(IN_CHANNELS, CHANNELS[0])])
    frames = STGCN_FRAMES
    for c_in, c_out, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False):
        h = g.op("Relu", [g.spatial(y, c_in, c_out)])
        residual = y
        if c_in != c_out or stride != 1:
            kept = g.op("Slice", [y, *(g.constant(np.array([v])) for v in (0, frames, 0, stride))])
            residual = g.norm(g.op("MatMul", [kept, g.weight(c_in, c_out)]), c_out)
        frames = -(-frames // stride)
        planes = g.op("Unsqueeze", [g.op("Transpose", [h], perm=[2, 0, 1]), g.constant(np.array([0]))])  # (1, C, R, V)
        pad = STGCN_KERNEL // 2
        kernel = g.constant(
            np.random.default_rng(1).standard_normal((c_out, c_out, STGCN_KERNEL, 1)).astype(np.float32) / (3 * c_out)
        )
        mixed = g.op("Conv", [planes, kernel], strides=[stride, 1], pads=[pad, 0, pad, 0])
        total = g.op("Transpose", [g.op("Squeeze", [mixed, g.constant(np.array([0]))])], perm=[1, 2, 0])
        y = g.op("Relu", [g.op("Add", [g.norm(total, c_out), residual])])
    pooled = g.op("Unsqueeze", [y, g.constant(np.array([0]))])  # (1, R, V, C)
    g.classify(pooled, 1, 2)
    layer = RtStgcnLayer(IN_CHANNELS, IN_CHANNELS, STGCN_FRAMES, 1, memory="window")
    return g.save(f"stgcn {STGCN_FRAMES}", (layer,), path)
