"""Parts of step graphs that work on frames (..., N, V, C): what the graph networks' exporters are written with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.export.builder import Dim, GraphBuilder
from trainer.export.sensors import SensorGraph
from trainer.nets.layers import ChannelNorm, FrameNorm, GraphConv, PointwiseNorm
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig

N = "N"  # people at once: any number

Array = NDArray[np.float64]


class GraphProduct(NamedTuple):
    """A graph convolution as two products: over the nodes, rows (node, partition), and over the channels."""

    aggregation: str  # the tensor (V * P, V), or one a person (N, V * P, V)
    mixing: Array  # (P * C_in, C_out)
    bias: Array  # (V, C_out)


class FrameGraph(GraphBuilder):
    """Operations on frames of N people. ``order`` says which tensors are to be written after which others."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.order: dict[str, str] = {}
        self._never_negative: set[str] = set()

    def streams(self, model: FrameNetwork) -> str:
        """The input ``x`` (N, C, V) -> scaled frame or sensor streams (N, V, C)."""
        y = self.op("Transpose", (self.input("x", (N, model.config.in_channels, self.nodes)),), "frame", perm=(0, 2, 1))
        y = self.affine(y, array(model.input_scale).T, -array(model.input_mean * model.input_scale).T, "input")
        if model.sensors is None:
            return y
        sensors = SensorGraph(self, model.sensors.config, self.nodes)
        y = sensors.streams(y)
        self.order.update(sensors.order)
        return y

    def embed(self, model: FrameNetwork, y: str) -> str:
        """Frames (..., V, C) -> (..., V, C of the first layer): norm, 1x1."""
        c_in = model.fcn_in.in_channels
        if isinstance(model.norm_in, ChannelNorm):
            gain, shift = (array(part).reshape(self.nodes, c_in) for part in model.norm_in.folded())
            y = self.affine(y, gain, shift, "embedded")
        elif isinstance(model.norm_in, FrameNorm):
            y = self.frame_norm(y, model.norm_in, "embedded.norm")
        return self.pointwise(model.fcn_in, y, "embedded.fcn")

    def classify(self, model: FrameNetwork, y: str, axes: tuple[int, ...] = (1,)) -> None:
        """Frames, averaged over ``axes`` (their nodes, perhaps their time) -> the output ``logits`` (N, classes)."""
        self.output(self.logits(model, y, axes, output="logits"), (N, len(model.config.labels)))

    def logits(
        self, model: FrameNetwork, y: str, axes: tuple[int, ...] = (1,), keepdims: int = 0, output: str = ""
    ) -> str:
        """Frames, averaged over ``axes``, classified; with ``keepdims`` those axes stay, of size 1."""
        y = self.op("ReduceMean", (y,), "output.pool", axes=axes, keepdims=keepdims)
        return self.pointwise(model.fcn_out, y, "output.fcn", output=output)

    def graph_product(self, conv: GraphConv, A: Tensor, name: str) -> GraphProduct:
        """A graph convolution whose adjacency ``A`` (P, V, V) is fixed."""
        aggregation, mixing, bias = (array(part) for part in conv.matrices(A))
        return GraphProduct(self.weight(f"{name}.aggregation", aggregation), mixing, bias)

    def graph_conv(
        self,
        conv: GraphProduct,
        x: str,
        name: str,
        *,
        gain: Array | None = None,
        shift: Array | None = None,
        lead: tuple[int, ...] = (-1,),
        after: str = "",
        output: str = "",
    ) -> str:
        """Frames (lead, V, C_in) -> (lead, V, C_out).

        Args:
            gain, shift: of what follows (C_out,), taken into the second product.
            lead: sizes before V, as a Reshape takes them.
            after: tensor that has to be written before the result is.
            output: name of the result.
        """
        aggregation, mixing, bias = conv
        if gain is not None:
            mixing, bias = mixing * gain, bias * gain
        if shift is not None:
            bias = bias + shift
        y = self.op("MatMul", (aggregation, x), f"{name}.aggregated")
        # rows (node, partition) of C_in channels are, in memory, rows (node) of P * C_in channels
        y = self.reshape(y, (*lead, self.nodes, len(mixing)), f"{name}.partitions", after)
        return self.linear(y, mixing, bias, f"{name}.mixing", output)

    def spatial(
        self,
        conv: GraphProduct,
        norm: FrameNorm | ChannelNorm,
        x: str,
        name: str,
        *,
        lead: tuple[int, ...] = (-1,),
        output: str = "",
    ) -> str:
        """``relu(norm(graph convolution))`` of each frame; arguments as for ``graph_conv``."""
        last = output or f"{name}.spatial"
        if isinstance(norm, ChannelNorm):
            gain, shift = (array(part) for part in norm.folded())
            y = self.graph_conv(conv, x, name, gain=gain, shift=shift, lead=lead)
        else:
            y = self.frame_norm(self.graph_conv(conv, x, name, lead=lead), norm, f"{name}.norm")
        return self.relu(y, last)

    def shortcut(self, residual: PointwiseNorm | None, x: str, name: str) -> str:
        """The residual branch: ``x`` itself, or its 1x1 convolution and norm."""
        if residual is None:
            return x
        weight = array(residual.conv.weight)[:, :, 0, 0].T
        if isinstance(residual.norm, ChannelNorm):
            gain, shift = (array(part) for part in residual.norm.folded())
            return self.linear(x, weight * gain, shift, f"{name}.residual")
        y = self.linear(x, weight, None, f"{name}.residual")
        return self.frame_norm(y, residual.norm, f"{name}.residual_norm")

    def join(self, y: str, x: str, config: LayerConfig, residual: PointwiseNorm | None, index: int) -> str:
        """A layer's end: ``relu(y + residual)``, the residual held back in the runtime's FIFO if it is delayed."""
        name = f"layer{index}"
        if config.residual == "none":
            return self.relu(y, f"{name}.out")
        shape = (N, self.nodes, config.in_channels)
        if not config.residual_delay:
            return self.add_relu(y, self.shortcut(residual, x, name), name)
        leaving = self.input(f"residual_leaving.{index}", shape)
        if x in self._never_negative:
            self._never_negative.add(leaving)
        out = self.add_relu(y, self.shortcut(residual, leaving, name), name)
        # the same memory as the frame that leaves: read into the sum first
        self.output(self.reshape(x, (-1, *shape[1:]), f"residual_entering.{index}", after=f"{name}.joined"), shape)
        return out

    def add_relu(self, y: str, skipped: str, name: str) -> str:
        """``relu(y + skipped)``; a sum of two ReLUs needs no third."""
        joined = self.op("Add", (y, skipped), f"{name}.joined")
        if {y, skipped} <= self._never_negative:
            self._never_negative.add(joined)
        return self.relu(joined, f"{name}.out")

    def convolve(
        self, x: str, weight: Array, bias: Array, name: str, *, pads: tuple[int, int, int, int], stride: int = 1
    ) -> str:
        """A convolution along time and nodes, frames (L, N, V, C_in) -> (L', N, V', C_out).

        Args:
            weight: (C_out, C_in, frames, nodes); bias (C_out,).
            pads: zeros before, in time and nodes, and after.
            stride: of time.
        """
        y = self.op("Transpose", (x,), f"{name}.by_channel", perm=(1, 3, 0, 2))  # (N, C, L, V)
        parameters = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        kernel = weight.shape[2:]
        y = self.op("Conv", (y, *parameters), name, kernel_shape=kernel, strides=(stride, 1), pads=pads)
        return self.op("Transpose", (y,), f"{name}.by_frame", perm=(2, 0, 3, 1))

    def relu(self, x: str, name: str) -> str:
        """ReLU, left out where nothing is negative."""
        if x in self._never_negative:
            return x
        y = self.op("Relu", (x,), name)
        self._never_negative.add(y)
        return y

    def reshape(self, x: str, shape: tuple[int, ...], name: str, after: str = "") -> str:
        """``x`` in another shape; with ``after``, written after that tensor has been."""
        if after:
            self.order[name] = after
        return self.op("Reshape", (x, self.weight(f"{name}.shape", np.array(shape, np.int64))), name)

    def affine(self, x: str, scale: Array, offset: Array, name: str) -> str:
        """``x * scale + offset``, without what changes nothing."""
        if (scale != 1).any():
            x = self.op("Mul", (x, self.weight(f"{name}.scale", scale)), f"{name}.scaled")
        if (offset != 0).any():
            x = self.op("Add", (x, self.weight(f"{name}.offset", offset)), f"{name}.shifted")
        return x

    def pointwise(
        self,
        layer: nn.Conv2d | nn.Linear,
        x: str,
        name: str,
        *,
        gain: Array | None = None,
        shift: Array | None = None,
        output: str = "",
    ) -> str:
        """A 1x1 convolution or linear layer of the last axis, with ``gain`` and ``shift`` of what follows it."""
        assert layer.bias is not None
        weight, bias = array(layer.weight).reshape(len(layer.weight), -1).T, array(layer.bias)
        if gain is not None:
            weight, bias = weight * gain, bias * gain
        return self.linear(x, weight, bias if shift is None else bias + shift, name, output)

    def linear(self, x: str, weight: Array, bias: Array | None, name: str, output: str = "") -> str:
        """``x @ weight + bias`` on the last axis."""
        last = output or name
        product = f"{name}.product" if bias is not None else last
        y = self.op("MatMul", (x, self.weight(f"{name}.weight", weight)), product)
        return y if bias is None else self.op("Add", (y, self.weight(f"{name}.bias", bias)), last)

    def frame_norm(self, x: str, norm: FrameNorm, name: str) -> str:
        """The published LayerNorm over (V, C), see :class:`FrameNorm`."""
        weight, bias, epsilon = norm.affine()
        parameters = self.weight(f"{name}.weight", array(weight)), self.weight(f"{name}.bias", array(bias))
        return self.op("LayerNormalization", (x, *parameters), name, axis=-2, epsilon=epsilon)

    def state(self, *names: str, channels: int, before: tuple[Dim, ...] = ()) -> tuple[str, ...]:
        """Graph inputs of one layer's memory, each (before, N, V, channels)."""
        return tuple(self.input(name, (*before, N, self.nodes, channels)) for name in names)


def array(value: Tensor) -> Array:
    """A parameter as float64."""
    out: Array = value.detach().double().cpu().numpy()
    return out
