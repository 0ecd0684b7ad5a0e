"""Make onnxruntime write one tensor before another, by the only means that it respects: a data dependency.

A ``Reshape`` takes its target shape as an input. When that shape is read off the tensor that has to come first, the
Reshape, and whatever follows from it, waits for it. That costs two nodes on three integers (1.5 % of a step of the
published RT-ST-GCN for all nine layers). It is done after onnxsim, which would rightly see that the shape is known
and drop the dependency.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

import numpy as np
import onnx
from onnx import helper, numpy_helper


def write_after(model: onnx.ModelProto, order: Mapping[str, str], copies: Mapping[str, str]) -> None:
    """Change the graph so that tensor ``key`` (N, V, C) is written after tensor ``order[key]`` (N, V, any) has been.

    ``key`` is either the output of a Reshape, which then waits with all that follows from it, or an output of the
    graph, which becomes a late copy of the tensor that it was. The free size N is what keeps onnxruntime from folding
    the shape into a constant at load. ``copies`` is what :func:`copies_of` has said before onnxsim ran.
    """
    graph = model.graph
    channels = {
        value.name: value.type.tensor_type.shape.dim[2].dim_value for value in graph.output if value.name in order
    }
    for output in channels:
        _rename(graph, output, _early(output))
    made = {name for node in graph.node for name in node.output}
    for key, before in order.items():
        if before not in made:  # onnxsim has kept it under the name of the output that was a copy of it
            before = _early(copies[before])
        if key in channels:
            shape = _shape_after(graph, key, before, channels[key])
            graph.node.append(helper.make_node("Reshape", [_early(key), shape], [key], name=f"{key}.copy"))
        else:
            reshape = next(node for node in graph.node if key in node.output)
            target = next(item for item in graph.initializer if item.name == reshape.input[1])
            reshape.input[1] = _shape_after(graph, key, before, int(numpy_helper.to_array(target)[2]))
    _sort(graph)
    _drop_unread_constants(graph)
    onnx.checker.check_model(model)


def _shape_after(graph: onnx.GraphProto, key: str, before: str, channels: int) -> str:
    """A tensor (N, V, channels) of sizes, known only when the tensor ``before`` is."""
    last, size, shape = f"{key}.after.channels", f"{key}.after.size", f"{key}.after.shape"
    graph.initializer.append(numpy_helper.from_array(np.array([channels], np.int64), last))
    graph.node.append(helper.make_node("Shape", [before], [size], name=size, start=0, end=2))
    graph.node.append(helper.make_node("Concat", [size, last], [shape], name=shape, axis=0))
    return shape


def copies_of(model: onnx.ModelProto, order: Mapping[str, str]) -> dict[str, str]:
    """Tensors of which an output in ``order`` is a plain copy, and that output; to be asked before onnxsim runs."""
    outputs = {value.name for value in model.graph.output if value.name in order}
    return {node.input[0]: node.output[0] for node in model.graph.node if node.output[0] in outputs}


def _early(output: str) -> str:
    """The name inside the graph of a tensor that leaves it late."""
    return f"{output}.early"


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _sort(graph: onnx.GraphProto) -> None:
    """Put every node after those whose tensors it reads, as ONNX requires."""
    nodes = list(graph.node)
    maker = {output: index for index, node in enumerate(nodes) for output in node.output}
    needs = {index: {maker[name] for name in node.input if name in maker} for index, node in enumerate(nodes)}
    del graph.node[:]
    graph.node.extend(nodes[index] for index in TopologicalSorter(needs).static_order())


def _drop_unread_constants(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
