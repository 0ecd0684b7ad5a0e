"""Cut a step graph into stages at the tensors its metadata name.

onnxruntime computes a whole graph even when one output is asked for (68 of 68 nodes ran, with
``only_execute_path_to_fetches`` too), and the stages of an IMFE run on different clocks: so each becomes a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Stage


def cut(model: onnx.ModelProto, stage: Stage) -> onnx.ModelProto:
    """The sub-graph that computes ``stage.outputs`` from ``stage.inputs``, as a model of its own.

    Raises:
        InputError: a tensor does not exist, or the outputs need an input that the stage does not name.
    """
    graph = model.graph
    values = _typed_values(model, (*stage.inputs, *stage.outputs))
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    weights = {tensor.name: tensor for tensor in graph.initializer}

    wanted, needed, used = list(stage.outputs), set[int](), dict[str, onnx.TensorProto]()
    while wanted:
        name = wanted.pop()
        if name in stage.inputs:
            continue
        if name in weights:
            used[name] = weights[name]
        elif name not in producer:
            raise InputError(
                f"stage with inputs {list(stage.inputs)} needs tensor '{name}' too; export the model again"
            )
        elif producer[name] not in needed:
            needed.add(producer[name])
            wanted.extend(_reads(graph.node[producer[name]]))

    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [graph.node[i] for i in sorted(needed)],
            "stage",
            [values[name] for name in stage.inputs],
            [values[name] for name in stage.outputs],
            list(used.values()),
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )


def with_parts(model: onnx.ModelProto, name: str, parts: Sequence[str]) -> onnx.ModelProto:
    """``model`` with its input ``name`` given in equal ``parts`` along the channels (axis 1), which it joins itself."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    whole = next(value for value in changed.graph.input if value.name == name)
    shape = [dim.dim_value for dim in whole.type.tensor_type.shape.dim]
    shape[1] //= len(parts)
    changed.graph.input.remove(whole)
    changed.graph.input.extend(
        onnx.helper.make_tensor_value_info(part, onnx.TensorProto.FLOAT, shape) for part in parts
    )
    changed.graph.node.insert(0, onnx.helper.make_node("Concat", list(parts), [name], axis=1))
    return changed


def _reads(node: onnx.NodeProto) -> set[str]:
    """Every tensor a node reads, those captured by graphs inside it included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            made = {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
            made |= {name for child in inner.node for name in child.output}
            for child in inner.node:
                names |= _reads(child) - made
    return names


def _typed_values(model: onnx.ModelProto, names: tuple[str, ...]) -> dict[str, onnx.ValueInfoProto]:
    """Type and shape of each named tensor, inferred only when the file does not state them."""
    values = _stated(model.graph)
    if any(name not in values for name in names):
        try:
            values |= _stated(onnx.shape_inference.infer_shapes(model).graph)
        except (onnx.shape_inference.InferenceError, ValueError) as error:
            raise InputError(f"the graph's shapes contradict each other: {str(error).splitlines()[0]}") from None
    for name in names:
        if name not in values:
            raise InputError(f"stage tensor '{name}' is not in the graph, or has no shape; export the model again")
    return values


def _stated(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
