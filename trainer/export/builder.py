"""Write an ONNX graph node by node.

Our graphs are small and their exact form matters (which tensor is written before which, what quantizes well, names
that mean something in a profile), so they are written out rather than traced from torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # what belongs to that opset: old runtimes on old devices read it

Dim = int | str  # a name where the size is free


class GraphBuilder:
    """Collects nodes and weights; every method that computes returns the name of the tensor it makes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[Dim], elem_type: int = TensorProto.FLOAT) -> str:
        """A graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, elem_type, list(shape)))
        return name

    def output(self, name: str, shape: Sequence[Dim]) -> None:
        """Declare the tensor ``name`` a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """A constant; floating ones are stored as float32."""
        array = value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value
        self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """One node with one output; its name is the output's."""
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def model(self, name: str, opset: int = OPSET) -> onnx.ModelProto:
        """The model, checked, with the shape of every tensor stated."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._weights.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="edge-action"
        )
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
