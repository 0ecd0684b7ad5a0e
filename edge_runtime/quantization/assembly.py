"""An IMFE's step graph put together again from stages that were changed one by one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel

from edge_runtime.models.metadata import ImfeMetadata, Stage
from edge_runtime.models.stages import cut


def assemble(
    original: onnx.ModelProto, metadata: ImfeMetadata, stages: Mapping[str, onnx.ModelProto]
) -> onnx.ModelProto:
    """The original step graph with its stages replaced; what lies between stages stays."""
    known = {name for node in original.graph.node for name in (*node.input, *node.output)}
    weights_before = {tensor.name for tensor in original.graph.initializer}
    stages = {
        # a bias that two stages shared is each one's own once one of them dequantises it
        name: _with_prefix(model, f"{name}.", known - (_made(model.graph.node) & weights_before))
        for name, model in stages.items()
    }
    inside: set[str] = set()
    for stage in metadata.stages.values():
        inside |= _made(cut(original, stage).graph.node)
    nodes = [*stages["encoder"].graph.node, *stages["motion"].graph.node]
    nodes += [node for node in original.graph.node if not inside & set(node.output)]
    nodes += [node for name in ("appearance", "head") if name in stages for node in stages[name].graph.node]
    weights = {tensor.name: tensor for model in stages.values() for tensor in model.graph.initializer}
    used = {name for node in nodes for name in node.input} - _made(nodes)
    weights |= {t.name: t for t in original.graph.initializer if t.name in used and t.name not in weights}
    graph = onnx.helper.make_graph(
        nodes, original.graph.name, original.graph.input, original.graph.output, list(weights.values())
    )
    graph.value_info.extend(_boundaries(original, metadata.stages.values()))
    opsets = {entry.domain: entry for model in (original, *stages.values()) for entry in model.opset_import}
    assembled = onnx.helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=original.ir_version)
    ONNXModel(assembled).topological_sort()  # converters append what they insert
    onnx.checker.check_model(assembled)
    return assembled


def _made(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output}


def _with_prefix(model: onnx.ModelProto, prefix: str, known: Collection[str]) -> onnx.ModelProto:
    """A copy whose tensors have the prefix, but for those ``known``: two stages give a tensor they share one name."""
    renamed = copy.deepcopy(model)

    def rename(name: str) -> str:
        return name if not name or name in known else prefix + name

    for node in renamed.graph.node:
        node.name = rename(node.name)
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
    for weight in renamed.graph.initializer:
        weight.name = rename(weight.name)
    return renamed


def _boundaries(model: onnx.ModelProto, stages: Collection[Stage]) -> list[onnx.ValueInfoProto]:
    """Type and shape of the tensors at which the graph is cut and that are neither its inputs nor its outputs."""
    outer = {value.name for value in (*model.graph.input, *model.graph.output)}
    values = {value.name: value for stage in stages for value in (*(cut(model, stage).graph.input),)}
    return [value for name, value in values.items() if name not in outer]
