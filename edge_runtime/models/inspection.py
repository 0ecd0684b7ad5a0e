"""What a model is and costs, computed from its graph: MACs, weights, state, time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from edge_runtime.errors import InputError
from edge_runtime.models import contract
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata, LstrMetadata, RtStgcnMetadata
from edge_runtime.models.stages import cut

_WEIGHT_TYPES = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Work of one run of a stage. ``uncounted`` operators had no inferable shape: with any, ``macs`` is a minimum."""

    macs: int
    parameters: int
    uncounted: int = 0


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that ``edge-inspect`` prints."""

    path: str
    file_bytes: int
    sha256: str
    opset: int
    kind: str
    input: str
    costs: dict[str, Cost]  # stage -> cost of one run
    macs_per_second: float  # at the training rate and the default hop
    state_bytes: int
    receptive_field: int  # frames (steps of a head)
    receptive_field_s: float
    delay: int
    delay_s: float
    metadata: dict[str, Any]


def inspect(file: ModelFile) -> Inspection:
    """Describe a verified model.

    Raises:
        InputError: the graph's shapes contradict each other.
    """
    meta = file.metadata
    graph = file.proto.graph
    delay = 0
    if isinstance(meta, ImfeMetadata):
        costs = {name: cost(cut(file.proto, stage)) for name, stage in meta.stages.items()}
        hop = meta.hops[0]
        pairs_per_hop = min(hop, meta.clip_length - 1)
        per_hop = costs["encoder"].macs * hop + costs["motion"].macs * pairs_per_hop + costs["head"].macs
        state = sum(_value_bytes(value) for value in graph.input if value.name.startswith("previous_"))
        if meta.has_appearance:
            per_hop += costs["appearance"].macs
            state += (meta.central_lag + 1) * meta.height * meta.width * 3
        fed = f"uint8 {meta.color} frame {meta.height} x {meta.width}"
    elif isinstance(meta, RtStgcnMetadata):
        costs = {"step": cost(file.proto)}
        hop, per_hop, delay = 1, costs["step"].macs, meta.delay
        state = contract.state_bytes(meta)
        fed = f"float32 {meta.in_channels} channels x {meta.graph.num_node} nodes ({meta.source})"
    elif isinstance(meta, LstrMetadata):
        costs = {"step": cost(file.proto)}
        hop, per_hop = 1, costs["step"].macs
        state = contract.lstr_state_bytes(meta)
        fed = f"float32 {meta.in_channels} channels x {meta.num_node} regions"
    else:
        costs = {"clip": cost(file.proto)}
        hop, per_hop = meta.hops[0], costs["clip"].macs
        state = 4 * meta.clip_length * 3 * meta.height * meta.width
        fed = f"float32 clip of {meta.clip_length} RGB frames {meta.height} x {meta.width}"
    return Inspection(
        path=str(file.path),
        file_bytes=len(file.data),
        sha256=file.sha256,
        opset=next(item.version for item in file.proto.opset_import if item.domain in ("", "ai.onnx")),
        kind=meta.kind,
        input=fed,
        costs=costs,
        macs_per_second=per_hop * meta.fps / hop,
        state_bytes=state,
        receptive_field=meta.receptive_field,
        receptive_field_s=meta.receptive_field / meta.fps,
        delay=delay,
        delay_s=delay / meta.fps,
        metadata=asdict(meta),
    )


def cost(model: onnx.ModelProto) -> Cost:
    """Multiply-accumulates and stored weights of one run at batch 1. Elementwise work is not counted.

    Raises:
        InputError: the graph's shapes contradict each other.
    """
    model = _at_batch_one(model)
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise InputError(f"the graph's shapes contradict each other: {str(error).splitlines()[0]}") from None
    shapes: dict[str, tuple[int, ...]] = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    counted = [_macs(node, shapes) for node in graph.node if node.op_type in _OPERANDS]
    tensors = [*graph.initializer, *(a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute)]
    return Cost(
        macs=sum(macs for macs in counted if macs is not None),
        parameters=sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in _WEIGHT_TYPES),
        uncounted=counted.count(None),
    )


# operator -> position of the operand whose shape gives the length of each dot product
_OPERANDS = {
    "MatMul": 0,
    "MatMulInteger": 0,
    "QLinearMatMul": 0,
    "DynamicQuantizeMatMul": 0,
    "MatMulIntegerToFloat": 0,
    "Gemm": 0,
    "Conv": 1,
    "ConvInteger": 1,
    "QLinearConv": 3,
}


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Outputs times the length of the dot product behind each; None where a shape is unknown."""
    operand, out = shapes.get(node.input[_OPERANDS[node.op_type]]), shapes.get(node.output[0])
    if not operand or not out or 0 in operand or 0 in out:
        return None
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        length = math.prod(operand[1:])  # (C_out, C_in / groups, kernel...)
    elif node.op_type == "Gemm" and any(a.name == "transA" and a.i == 1 for a in node.attribute):
        length = operand[0]
    else:
        length = operand[-1]
    return math.prod(out) * length


def _at_batch_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every symbolic dimension set to 1."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.dim_value = 1
    del fixed.graph.value_info[:]  # may state the old symbols
    return fixed


def _value_bytes(value: onnx.ValueInfoProto) -> int:
    elements: int = math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return 4 * elements


def to_text(report: Inspection) -> str:
    """The report as aligned lines."""
    meta = report.metadata
    rows: list[tuple[str, str]] = [
        ("model", f"{meta['name']} ({report.kind}), {report.path}"),
        ("file", f"{report.file_bytes / 1e6:.2f} MB, opset {report.opset}, sha256 {report.sha256}"),
        ("precision", meta["precision"]),
        ("input", report.input),
        ("trained at", f"{meta['fps']:g} {'steps' if report.kind in ('rtstgcn', 'lstr') else 'frames'} a second"),
    ]
    if report.kind == "rtstgcn":
        rows += [
            ("graph", f"{meta['graph']['num_node']} nodes, {len(meta['graph']['edge'])} edges"),
            ("layers", "channels -> channels, taps x dilation [residual delay]"),
            *((f"  {i}", _layer(layer)) for i, layer in enumerate(meta["layers"])),
            *_names(meta),
        ]
    elif report.kind == "lstr":
        rows += [
            ("memory", f"short {meta['short']} steps, long {meta['long']} before them"),
            *((f"  {m['name']}", f"{m['length']} x {m['width']}, {m['age']} steps old") for m in meta["memories"]),
            *_names(meta),
        ]
    else:
        rows += [
            ("clip", f"{meta['clip_length']} frames"),
            ("output", f"{meta['feature_dim']} features, {meta['region_grid'][0]} x {meta['region_grid'][1]} regions"),
        ]
        rows += [("hops", ", ".join(map(str, meta["hops"])))] if "hops" in meta else []
    for stage, each in report.costs.items():
        more = f" (and {each.uncounted} operators of unknown shape)" if each.uncounted else ""
        rows.append((stage, f"{each.macs / 1e6:,.2f} MMAC a run{more}, {each.parameters / 1e6:.3f} M weights"))
    rows += [
        ("compute", f"{report.macs_per_second / 1e9:.3f} GMAC a second at the training rate"),
        ("state", f"{report.state_bytes / 1e3:,.1f} kB"),
        ("receptive field", f"{report.receptive_field} frames, {report.receptive_field_s:.2f} s"),
        ("delay", f"{report.delay} frames, {report.delay_s:.2f} s"),
    ]
    rows += [(key.replace("_", " "), str(value)) for key, value in meta["provenance"].items() if value is not None]
    rows += _quantization(meta.get("quantization", {}))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _names(meta: dict[str, Any]) -> list[tuple[str, str]]:
    """What a head tells apart."""
    return [
        ("labels", f"{len(meta['labels'])}: {', '.join(meta['labels'])}"),
        ("background", str(meta["background"] or "(no label)")),
    ]


def _quantization(decision: dict[str, Any]) -> list[tuple[str, str]]:
    """The decision of edge-quantize, one line a figure; what it decided of each part below."""
    rows = [(key.replace("_", " "), str(value)) for key, value in decision.items() if not isinstance(value, dict)]
    parts = [item for value in decision.values() if isinstance(value, dict) for item in value.items()]
    return [("quantization", "")] * bool(decision) + [(f"  {key}", str(value)) for key, value in (*rows, *parts)]


def _layer(layer: dict[str, Any]) -> str:
    delay = f" [{layer['residual_delay']}]" if layer["residual_delay"] else ""
    kind = ", learnt kernel over the window" if layer["memory"] == "window" else ""
    return f"{layer['in_channels']} -> {layer['out_channels']}, {layer['taps']} x {layer['dilation']}{delay}{kind}"
