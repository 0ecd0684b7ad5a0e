"""What a model file may not contain: everything that lets it reach beyond its own bytes, or beyond reason.

A model is code from elsewhere. Weights in other files (``external_data``) read any path on the device; operators of
other domains run custom libraries; a shape of 10^9 takes the memory. All are refused before onnxruntime sees them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx

from edge_runtime.errors import InputError

MAX_FILE_BYTES = 512 * 1024 * 1024  # the published IMFE in fp32 is 102 MB
MIN_OPSET = 13  # per-channel QuantizeLinear and the axes-as-input forms start here
MAX_OPSET = onnx.defs.onnx_opset_version()
DOMAINS = ("", "ai.onnx", "com.microsoft")  # the standard and onnxruntime's own quantized operators
MAX_RANK = 8
MAX_ELEMENTS = 2**28  # 1 GiB of float32 in one tensor


def check(model: onnx.ModelProto) -> None:
    """Refuse what this module's docstring lists.

    Raises:
        InputError: naming the first thing found.
    """
    if not model.graph.node or not model.graph.output:
        raise InputError("not an ONNX model: it has no graph; copy or export the file again")
    if model.functions:
        raise InputError(
            f"model defines its own operator '{model.functions[0].name}'; export it with functions inlined"
        )
    if not all(isinstance(text, str) for prop in model.metadata_props for text in (prop.key, prop.value)):
        raise InputError("the model's metadata are not text; the file is damaged")
    _check_opset(model)
    for graph in _graphs(model.graph):
        _check_graph(graph)


def _check_opset(model: onnx.ModelProto) -> None:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not MIN_OPSET <= versions[0] <= MAX_OPSET:
        found = versions[0] if len(versions) == 1 else f"{len(versions)} declarations"
        raise InputError(f"ONNX opset: expected {MIN_OPSET} to {MAX_OPSET}, found {found}; export it again")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph nested in a node's attributes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _check_graph(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        _check_text(node.domain, node.op_type, *node.input, *node.output, *(a.name for a in node.attribute))
        if node.domain not in DOMAINS:
            raise InputError(
                f"operator {node.op_type} is of domain '{node.domain}'; only standard ONNX operators are accepted"
            )
    for tensor in _tensors(graph):
        _check_text(tensor.name)
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise InputError(
                f"tensor '{tensor.name}' keeps its data in another file; save the model as one file, weights inside"
            )
        _check_shape(tensor.name, list(tensor.dims))
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_text(value.name)
        _check_shape(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim])


def _check_text(*names: str) -> None:
    """Names go into messages of one line; protobuf gives bytes where a string of the file is not UTF-8."""
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise InputError("a name in the model is not printable text; the file is damaged")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                if tensor.ByteSize():
                    yield tensor
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _check_shape(name: str, dims: list[int]) -> None:
    """Symbolic dimensions are 0 in ``dims`` and count as 1."""
    if len(dims) > MAX_RANK or any(dim < 0 for dim in dims) or math.prod(max(dim, 1) for dim in dims) > MAX_ELEMENTS:
        raise InputError(f"tensor '{name}' has the absurd shape {dims[:MAX_RANK]}; the file is damaged or not ours")
