"""Does a graph keep what its metadata promise? Asked once at load, so that no stream has to wonder later."""

from __future__ import annotations

import onnx

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import ImfeMetadata, LstrMetadata, Metadata, RtStgcnLayer, RtStgcnMetadata

MAX_SIDE = 8192  # pixels
MAX_CLIP = 256  # frames
MAX_NODES = 4096
MAX_CHANNELS = 65_536
MAX_LAYERS = 256
MAX_STATE_BYTES = 2**30
# inputs and outputs of an IMFE's stages; the head's one input is an inner tensor of any name
STAGE_TENSORS: dict[str, tuple[set[str], set[str]]] = {
    "encoder": ({"frame"}, {"fmap"}),
    "motion": ({"previous_fmap", "fmap"}, {"pair"}),
    "head": (set(), {"features", "regions"}),
}
APPEARANCE = {"central_frame"}, {"appearance"}  # the stage of an RGB stream; the head takes its output after the pairs
UNKNOWN = -1  # a dimension that the metadata do not fix

Shapes = dict[str, tuple[int, ...]]


def check(metadata: Metadata, graph: onnx.GraphProto) -> None:
    """Compare names and shapes of the graph's inputs and outputs with the contract in ``docs/architecture.md``.

    Raises:
        InputError: naming the tensor or field, what was expected and what was found.
    """
    if isinstance(metadata, ImfeMetadata):
        _check_imfe(metadata, graph)
    elif isinstance(metadata, LstrMetadata):
        _check_lstr(metadata, graph)
    else:
        _check_rtstgcn(metadata, graph)


def _check_imfe(meta: ImfeMetadata, graph: onnx.GraphProto) -> None:
    _require(8 <= meta.height <= MAX_SIDE and 8 <= meta.width <= MAX_SIDE, f"frame {meta.height} x {meta.width}")
    _require(2 <= meta.clip_length <= MAX_CLIP, f"clip_length {meta.clip_length}")
    _require(bool(meta.hops) and all(1 <= hop <= meta.clip_length for hop in meta.hops), f"hops {meta.hops}")
    _require(0 < meta.fps <= 1000, f"fps {meta.fps}")
    _require(all(1 <= side <= MAX_NODES for side in meta.region_grid), f"region_grid {meta.region_grid}")
    _require(1 <= meta.feature_dim <= MAX_CHANNELS, f"feature_dim {meta.feature_dim}")
    stages = STAGE_TENSORS | ({"appearance": APPEARANCE} if meta.has_appearance else {})
    _require(set(meta.stages) == set(stages), f"stages {sorted(meta.stages)}, expected {sorted(STAGE_TENSORS)}")
    for name, (inputs, outputs) in stages.items():
        stage = meta.stages[name]
        beside = ("appearance",) if meta.has_appearance else ()
        takes = set(stage.inputs) == inputs if inputs else stage.inputs[1:] == beside and len(stage.inputs) > 0
        _require(
            takes and set(stage.outputs) == outputs, f"stages['{name}']: {list(stage.inputs)} -> {list(stage.outputs)}"
        )
    regions = meta.region_grid[0] * meta.region_grid[1]
    fmap = (1, UNKNOWN, UNKNOWN, UNKNOWN)
    fed: Shapes = {"frame": (1, meta.height, meta.width, 3), "previous_fmap": fmap, "previous_pairs": fmap}
    if meta.has_appearance:
        fed["central_frame"] = fed["frame"]
    _match(
        graph,
        inputs=fed,
        outputs={
            "fmap": fmap,
            "pair": fmap,
            "features": (1, meta.feature_dim),
            "regions": (1, meta.feature_dim, regions),
        },
    )


def _check_rtstgcn(meta: RtStgcnMetadata, graph: onnx.GraphProto) -> None:
    nodes = meta.graph.num_node
    _require(1 <= nodes <= MAX_NODES, f"graph.num_node {nodes}")
    _require(all(0 <= node < nodes for edge in meta.graph.edge for node in edge), "graph.edge: a node beyond num_node")
    _require(1 <= len(meta.layers) <= MAX_LAYERS, f"{len(meta.layers)} layers")
    _require(0 < meta.fps <= 10_000, f"fps {meta.fps}")
    _require(bool(meta.labels), "labels: there is none")
    _require(1 <= meta.in_channels <= MAX_CHANNELS, f"in_channels {meta.in_channels}")
    _require(meta.background is None or meta.background in meta.labels, f"background '{meta.background}' is no label")
    inputs: Shapes = {"x": (UNKNOWN, meta.in_channels, nodes)}
    outputs: Shapes = {"logits": (UNKNOWN, len(meta.labels))}
    for i, layer in enumerate(meta.layers):
        counts = (layer.in_channels, layer.out_channels, layer.taps, layer.dilation)
        _require(min(counts) >= 1 and layer.residual_delay >= 0, f"layers[{i}]: {layer}")
        state = (UNKNOWN, nodes, layer.out_channels)
        outputs[f"entering.{i}"] = state
        if layer.memory == "sum":
            inputs |= {f"sum.{i}": state, f"fresh.{i}": state, f"leaving.{i}": state}
            outputs |= {f"sum.{i}.out": state, f"fresh.{i}.out": state}
        elif layer.taps > 1:
            inputs[f"window.{i}"] = (layer.taps - 1, *state)
        if layer.residual_delay:
            residual = (UNKNOWN, nodes, layer.in_channels)
            inputs[f"residual_leaving.{i}"] = residual
            outputs[f"residual_entering.{i}"] = residual
    _require_state(state_bytes(meta))
    _match(graph, inputs, outputs)


def _check_lstr(meta: LstrMetadata, graph: onnx.GraphProto) -> None:
    _require(1 <= meta.num_node <= MAX_NODES, f"num_node {meta.num_node}")
    _require(1 <= meta.in_channels <= MAX_CHANNELS, f"in_channels {meta.in_channels}")
    _require(0 < meta.fps <= 10_000, f"fps {meta.fps}")
    _require(bool(meta.labels), "labels: there is none")
    _require(meta.background is None or meta.background in meta.labels, f"background '{meta.background}' is no label")
    _require(meta.short >= 1 and meta.long >= 1, f"memory of {meta.short} and {meta.long} steps")
    _require(1 <= len(meta.memories) <= MAX_LAYERS, f"{len(meta.memories)} memories")
    inputs: Shapes = {"x": (1, meta.in_channels, meta.num_node)}
    outputs: Shapes = {"logits": (1, len(meta.labels))}
    for memory in meta.memories:
        _require(min(memory.width, memory.length, memory.age) >= 1, f"memory {memory}")
        inputs[memory.name] = (memory.length, memory.width)
        outputs[f"{memory.name}.entering"] = (memory.width,)
    _require_state(lstr_state_bytes(meta))
    _match(graph, inputs, outputs)


def lstr_state_bytes(meta: LstrMetadata) -> int:
    """Bytes of a stream's state (float32): every memory's vectors, held twice."""
    return 4 * sum(2 * (memory.age - 1 + memory.length) * memory.width for memory in meta.memories)


def state_bytes(meta: RtStgcnMetadata) -> int:
    """Bytes of one stream's state (float32): per layer ``taps·dilation`` frames and a running and a fresh sum a phase,
    or a window of ``taps - 1`` frames a phase, held twice; and the delayed residuals."""

    def frames(layer: RtStgcnLayer) -> int:
        return layer.dilation * (layer.taps + 2 if layer.memory == "sum" else 2 * (layer.taps - 1))

    words = sum(layer.out_channels * frames(layer) + layer.in_channels * layer.residual_delay for layer in meta.layers)
    return 4 * words * meta.graph.num_node


def _match(graph: onnx.GraphProto, inputs: Shapes, outputs: Shapes) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    for role, values, expected in (("input", graph.input, inputs), ("output", graph.output, outputs)):
        found = {value.name: value for value in values if value.name not in weights}
        for name in sorted(set(expected) ^ set(found)):
            state = "is missing" if name in expected else "is not in the contract"
            raise InputError(f"graph {role} '{name}' {state}; export the model again")
        for name, shape in expected.items():
            _match_shape(role, found[name], shape)


def _match_shape(role: str, value: onnx.ValueInfoProto, expected: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value for dim in tensor.shape.dim)  # 0: symbolic
    agrees = len(dims) == len(expected) and all(
        want == UNKNOWN or have in (0, want) for have, want in zip(dims, expected, strict=True)
    )
    if not agrees:
        shown = ", ".join("?" if dim == UNKNOWN else str(dim) for dim in expected)
        raise InputError(f"graph {role} '{value.name}': expected shape ({shown}), found {dims}; export the model again")
    wanted = onnx.TensorProto.UINT8 if value.name in ("frame", "central_frame") else onnx.TensorProto.FLOAT
    if tensor.elem_type != wanted:
        raise InputError(
            f"graph {role} '{value.name}': expected {onnx.TensorProto.DataType.Name(wanted)}, "
            f"found type {tensor.elem_type}; export the model again"
        )


def _require_state(size: int) -> None:
    _require(size <= MAX_STATE_BYTES, f"a state of {size >> 20} MiB, more than the {MAX_STATE_BYTES >> 20} accepted")


def _require(condition: bool, found: str) -> None:
    if not condition:
        raise InputError(f"model metadata: {found}: out of range; the file is damaged or not ours")
