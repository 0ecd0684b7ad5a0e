"""RtStgcn -> ``rtstgcn.onnx``, the step graph of docs/architecture.md, two MatMuls a layer.

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

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import Provenance, RtStgcnLayer, RtStgcnMetadata
from edge_runtime.streams import RtStgcnBatch
from trainer.export.builder import GraphBuilder
from trainer.export.sensors import SensorGraph
from trainer.export.write import relative_error, write_model
from trainer.nets.layers import ChannelNorm, FrameNorm
from trainer.nets.network_config import NetworkConfig
from trainer.nets.rtstgcn import Layer, RtStgcn
from trainer.nets.sensors import STREAMS

N = "N"  # people at once: any number
PARITY_FIELDS = 3  # receptive fields compared with torch before a file is written


def export_rtstgcn(
    model: RtStgcn, out: str | Path, name: str = "rtstgcn", provenance: Provenance | None = None
) -> float:
    """Write the step graph of ``model`` (its eval form) after comparing it with torch.

    Args:
        out: file to write.
        name: what the model calls itself.

    Returns:
        The relative error against torch.

    Raises:
        ParityError: graph and network disagree; no file is left.
        InputError: ``out`` cannot be written.
    """
    model.eval()
    metadata = build_metadata(model.config, name, provenance)
    graph, order = build_graph(model)
    return write_model(graph, metadata, out, lambda file: _parity(model, file), order)


def build_metadata(
    config: NetworkConfig, name: str = "rtstgcn", provenance: Provenance | None = None
) -> RtStgcnMetadata:
    """What the file says about itself."""
    return RtStgcnMetadata(
        kind="rtstgcn",
        in_channels=config.in_channels,
        graph=config.graph,
        labels=config.labels,
        layers=tuple(
            RtStgcnLayer(layer.in_channels, layer.out_channels, layer.taps, layer.dilation, layer.residual_delay)
            for layer in config.memories
        ),
        fps=config.fps,
        source=config.source,
        background=config.background,
        name=name,
        provenance=provenance or Provenance(),
    )


def build_graph(model: RtStgcn) -> tuple[onnx.ModelProto, dict[str, str]]:
    """One step of the network, and which of its tensors are to be written after which."""
    g = FrameGraph(model.config.graph.num_node)
    y = g.embed(model)
    for index, layer in enumerate(model.layers, start=len(model.config.memories) - len(model.layers)):
        y = g.layer(index, layer, model.A, y)
    g.classify(model, y)
    return g.model("rtstgcn"), g.order


class FrameGraph(GraphBuilder):
    """Operations on one frame of N people, (N, V, C)."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self._nodes_count = nodes
        self.order: dict[str, str] = {}
        self._never_negative: set[str] = set()

    def embed(self, model: RtStgcn) -> str:
        """The input ``x`` (N, C, V) -> (N, V, C of the first layer): layout, scale, norm, 1x1."""
        C, V = model.config.in_channels, self._nodes_count
        y = self.op("Transpose", (self.input("x", (N, C, V)),), "input.frame", perm=(0, 2, 1))
        scale, offset = array(model.input_scale).T, -array(model.input_mean * model.input_scale).T  # (V, C)
        if model.sensors is not None:
            sensors = SensorGraph(self, model.sensors.config, V)
            y = sensors.streams(self.affine(y, scale, offset, "input"))
            self.order.update(sensors.order)
            scale, offset, C = np.ones((V, STREAMS)), np.zeros((V, STREAMS)), STREAMS
        if isinstance(model.norm_in, ChannelNorm):
            gain, shift = (array(part).reshape(V, C) for part in model.norm_in.folded())
            scale, offset = scale * gain, offset * gain + shift
        y = self.affine(y, scale, offset, "embedded")
        if isinstance(model.norm_in, FrameNorm):
            y = self.frame_norm(y, model.norm_in, "input.norm")
        assert model.fcn_in.bias is not None
        return self.linear(y, array(model.fcn_in.weight).reshape(-1, C).T, array(model.fcn_in.bias), "input.fcn")

    def affine(self, x: str, scale: NDArray[np.float64], offset: NDArray[np.float64], name: str) -> str:
        """``x * scale + offset``, without what changes nothing."""
        if (scale != 1).any():
            x = self.op("Mul", (x, self.weight(f"{name}.scale", scale)), f"{name}.scaled")
        if (offset != 0).any():
            x = self.op("Add", (x, self.weight(f"{name}.offset", offset)), f"{name}.shifted")
        return x

    def classify(self, model: RtStgcn, y: str) -> None:
        """(N, V, C) -> the output ``logits`` (N, classes)."""
        classes, c_in = model.fcn_out.weight.shape[:2]
        y = self.op("ReduceMean", (y,), "output.pool", axes=(1,), keepdims=0)
        assert model.fcn_out.bias is not None
        weight, bias = array(model.fcn_out.weight).reshape(classes, c_in).T, array(model.fcn_out.bias)
        self.output(self.linear(y, weight, bias, "output.fcn", output="logits"), (N, classes))

    def layer(self, index: int, layer: Layer, A: Tensor, x: str) -> str:
        """One RT-ST-GCN layer: output (N, V, C_out) of input ``x`` (N, V, C_in)."""
        V, config, name = self._nodes_count, layer.config, f"layer{index}"
        state = (N, V, config.out_channels)
        running, fresh, leaving = (self.input(f"{part}.{index}", state) for part in ("sum", "fresh", "leaving"))
        remaining = self.op("Sub", (running, leaving), f"{name}.remaining")

        fold = layer.bn_relu[0].folded() if isinstance(layer.bn_relu[0], ChannelNorm) else None
        entering = self._graph_conv(layer, A, x, remaining, None if fold is None else array(fold[0]), index)
        total = self.op("Add", (remaining, entering), f"sum.{index}.out")
        self.op("Add", (fresh, entering), f"fresh.{index}.out")
        for output in (f"sum.{index}.out", f"fresh.{index}.out", entering):
            self.output(output, state)

        y = total
        if isinstance(layer.bn_relu[0], FrameNorm):
            y = self.frame_norm(y, layer.bn_relu[0], f"{name}.norm")
        elif fold is not None:  # its gain is in the entering frames already
            y = self.op("Add", (y, self.weight(f"{name}.shift", array(fold[1]))), f"{name}.norm")
        y = self._relu(y, f"{name}.relu")
        return self._residual(index, layer, x, y)

    def _graph_conv(
        self, layer: Layer, A: Tensor, x: str, before: str, gain: NDArray[np.float64] | None, index: int
    ) -> str:
        """``h``, the frame that enters the FIFO, written only after the tensor ``before`` has been."""
        name = f"layer{index}"
        aggregation, mixing, bias = (array(part) for part in layer.matrices(A))
        if gain is not None:
            mixing, bias = mixing * gain, bias * gain
        y = self.op("MatMul", (self.weight(f"{name}.aggregation", aggregation), x), f"{name}.aggregated")
        y = self._reshape_after(before, y, len(mixing), f"{name}.partitions")
        return self.linear(y, mixing, bias, f"{name}.mixing", output=f"entering.{index}")

    def _reshape_after(self, before: str, x: str, channels: int, name: str) -> str:
        """``x`` as (N, V, channels), written after the tensor ``before`` has been."""
        self.order[name] = before
        shape = self.weight(f"{name}.shape", np.array([-1, self._nodes_count, channels], np.int64))
        return self.op("Reshape", (x, shape), name)

    def _residual(self, index: int, layer: Layer, x: str, y: str) -> str:
        config, name, V = layer.config, f"layer{index}", self._nodes_count
        if config.residual == "none":
            return y
        shape = (N, V, config.in_channels)
        skipped = self.input(f"residual_leaving.{index}", shape) if config.residual_delay else x
        if layer.residual is not None:
            weight = array(layer.residual.conv.weight)[:, :, 0, 0].T
            norm = layer.residual.norm
            if isinstance(norm, ChannelNorm):
                gain, shift = (array(part) for part in norm.folded())
                skipped = self.linear(skipped, weight * gain, shift, f"{name}.residual")
            else:
                skipped = self.linear(skipped, weight, None, f"{name}.residual")
                skipped = self.frame_norm(skipped, norm, f"{name}.residual_norm")
        joined = self.op("Add", (y, skipped), f"{name}.joined")
        if config.residual_delay:
            # the same memory as the frame that leaves: read into ``joined`` first
            entering = self._reshape_after(joined, x, config.in_channels, f"residual_entering.{index}")
            self.output(entering, shape)
        if layer.residual is None and x in self._never_negative:
            self._never_negative.add(joined)  # a sum of two ReLUs needs no third
            return joined
        return self._relu(joined, f"{name}.out")

    def _relu(self, x: str, name: str) -> str:
        y = self.op("Relu", (x,), name)
        self._never_negative.add(y)
        return y

    def linear(
        self,
        x: str,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64] | None,
        name: str,
        output: str = "",
    ) -> str:
        """``x @ weight + bias`` on the last axis."""
        last = output or name
        y = self.op(
            "MatMul", (x, self.weight(f"{name}.weight", weight)), f"{name}.product" if bias is not None else last
        )
        return y if bias is None else self.op("Add", (y, self.weight(f"{name}.bias", bias)), last)

    def frame_norm(self, x: str, norm: FrameNorm, name: str) -> str:
        """The published LayerNorm over (V, C), see :class:`FrameNorm`."""
        weight, bias, epsilon = norm.affine()
        parameters = self.weight(f"{name}.weight", array(weight)), self.weight(f"{name}.bias", array(bias))
        return self.op("LayerNormalization", (x, *parameters), name, axis=-2, epsilon=epsilon)


def array(value: Tensor) -> NDArray[np.float64]:
    """A parameter as float64."""
    out: NDArray[np.float64] = value.detach().double().cpu().numpy()
    return out


def _parity(model: RtStgcn, file: ModelFile) -> float:
    """Stream two people's noise step by step, state in place; relative error against ``forward`` on the whole."""
    length = PARITY_FIELDS * model.receptive_field
    C, V = model.input_mean.shape
    noise = torch.randn(2, C, length, V, generator=torch.Generator().manual_seed(0))
    # noise that the network's own input normalisation makes a unit one, as it does to real input
    scale = torch.where(model.input_scale == 0, torch.ones_like(model.input_scale), model.input_scale)
    if model.sensors is not None:
        scale = scale / model.sensors.raw_units()[:, None]
    x = noise / scale[:, None] + model.input_mean[:, None]
    with torch.inference_mode():
        expected = model(x).permute(2, 0, 1).numpy()  # (L, N, classes)
    batch = RtStgcnBatch(file, 2)
    return relative_error(batch.steps(x.permute(2, 0, 1, 3).numpy()), expected)
