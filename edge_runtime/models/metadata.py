"""What a model file says about itself: one frozen dataclass a kind, stored in ONNX ``metadata_props``.

Every field is one property of the same name whose value is JSON, so that Netron and
``InferenceSession.get_modelmeta().custom_metadata_map`` show it readably. The trainer writes these, the runtime
reads them; this file is their only contract.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_runtime.errors import InputError

SCHEMA_VERSION = 1

Precision = Literal["fp32", "fp16", "int8-dynamic", "int8-static", "int8-mixed"]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and undirected edges of a skeleton, a set of body-worn sensors, or a grid of image regions."""

    num_node: int
    edge: tuple[tuple[int, int], ...]
    center: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a step graph that runs on its own clock: cut it out between these tensors."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights come from, so that a file found on a device can be traced to the run that made it."""

    checkpoint_sha256: str | None = None
    made_by: str | None = None  # the command line
    trained_on: str | None = None
    licence: str | None = None
    citation: str | None = None
    created: str | None = None  # UTC, ISO 8601


@dataclass(frozen=True, slots=True)
class ImfeMetadata:
    """An IMFE step graph: frame -> fmap, (fmap, fmap) -> pair, (clip_length - 1 pairs) -> features and regions.

    ``stages`` has exactly the keys ``encoder``, ``motion`` and ``head``, and with an RGB stream ``appearance``:
    central_frame -> appearance, which the head takes beside the pairs. A frame is uint8 NHWC ``(1, height, width, 3)``;
    normalisation by ``mean`` and ``std`` (0-255 scale) is inside the graph.
    """

    kind: Literal["imfe"]
    height: int
    width: int
    fps: float  # frame rate the network was trained at
    clip_length: int
    hops: tuple[int, ...]  # hops it may be run at; the first is the default
    feature_dim: int
    region_grid: tuple[int, int]  # rows, columns; V = rows * columns, row-major
    stages: dict[str, Stage]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color: Literal["RGB", "BGR"] = "RGB"
    precision: Precision = "fp32"
    name: str = "imfe"
    provenance: Provenance = field(default_factory=Provenance)
    quantization: dict[str, Any] = field(default_factory=dict)  # decision and figures, written by edge-quantize
    schema: int = SCHEMA_VERSION

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return self.clip_length

    @property
    def has_appearance(self) -> bool:
        """Whether there is an RGB stream beside the motion."""
        return "appearance" in self.stages

    @property
    def central_lag(self) -> int:
        """Frames of a clip after its central one."""
        return self.clip_length - 1 - (self.clip_length - 1) // 2


@dataclass(frozen=True, slots=True)
class RtStgcnLayer:
    """One layer as the runtime's FIFOs see it: ``taps`` frames, ``dilation`` apart.

    ``memory`` is what it keeps of them. RT-ST-GCN's own layer keeps their ``sum``, whose cost does not depend on
    ``taps``. A layer with a learnt temporal kernel (CoST-GCN; Shift-GCN's shifts; ST-GCN and AAGCN, over raw input) has
    to see the whole ``window`` at every step.
    """

    in_channels: int
    out_channels: int
    taps: int
    dilation: int
    residual_delay: int = 0  # frames the residual is held back: the layer's look-ahead
    memory: Literal["sum", "window"] = "sum"


@dataclass(frozen=True, slots=True)
class RtStgcnMetadata:
    """An RT-ST-GCN step graph: ``x`` (N, C, V) and the layers' states -> logits (N, classes) and new states.

    Layer ``i`` has the inputs ``sum.i``, ``fresh.i``, ``leaving.i`` (N, V, C_out) and the outputs ``sum.i.out``,
    ``fresh.i.out``, ``entering.i``; a layer with a ``window`` has the input ``window.i`` (taps - 1, N, V, C_out),
    oldest frame first, absent for one tap, and the output ``entering.i`` alone. With ``residual_delay`` there are
    also ``residual_leaving.i`` and ``residual_entering.i`` (N, V, C_in). ``source`` says what may be fed: an IMFE's
    regions, joints, sensors.
    """

    kind: Literal["rtstgcn"]
    in_channels: int
    graph: Graph
    labels: tuple[str, ...]
    layers: tuple[RtStgcnLayer, ...]
    fps: float  # steps a second in training: frame rate of a skeleton, frame rate / hop of IMFE regions
    source: Literal["regions", "skeleton"] = "skeleton"
    background: str | None = None  # the label that means that no action is going on
    precision: Precision = "fp32"
    name: str = "rtstgcn"
    provenance: Provenance = field(default_factory=Provenance)
    quantization: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def input_shape(self) -> tuple[int, int]:
        """(C, V) of a step."""
        return self.in_channels, self.graph.num_node

    @property
    def receptive_field(self) -> int:
        """Steps that one output depends on."""
        return 1 + sum((layer.taps - 1) * layer.dilation for layer in self.layers)

    @property
    def delay(self) -> int:
        """Steps between the moment a result speaks of and the moment it is known."""
        return sum(layer.residual_delay for layer in self.layers)


@dataclass(frozen=True, slots=True)
class LstrMemory:
    """One FIFO of an LSTR: every step enters one vector of ``width``, and sees ``length`` earlier ones, oldest first.

    The youngest that it sees entered ``age`` steps ago. Before anything has entered, every value is ``empty``.
    """

    name: str
    width: int
    length: int
    age: int = 1
    empty: float = 0.0


@dataclass(frozen=True, slots=True)
class LstrMetadata:
    """An LSTR step graph: ``x`` (1, C, V) and the memories -> logits (1, classes) and what enters the memories.

    Memory ``m`` has the input ``m`` (length, width) and the output ``m.entering`` (width,).
    """

    kind: Literal["lstr"]
    in_channels: int
    num_node: int  # regions
    labels: tuple[str, ...]
    short: int  # steps in the short memory, the present one included
    long: int  # steps before those
    memories: tuple[LstrMemory, ...]
    receptive_field: int  # steps that one output depends on, once all of them have been
    fps: float  # steps a second in training
    background: str | None = None  # the label that means that no action is going on
    precision: Precision = "fp32"
    name: str = "lstr"
    provenance: Provenance = field(default_factory=Provenance)
    quantization: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def input_shape(self) -> tuple[int, int]:
        """(C, V) of a step."""
        return self.in_channels, self.num_node

    @property
    def delay(self) -> int:
        """Steps between the moment a result speaks of and the moment it is known: it never waits."""
        return 0


HeadMetadata = RtStgcnMetadata | LstrMetadata
Metadata = ImfeMetadata | HeadMetadata
_KINDS: dict[str, type[Metadata]] = {"imfe": ImfeMetadata, "rtstgcn": RtStgcnMetadata, "lstr": LstrMetadata}


def to_props(metadata: Metadata) -> dict[str, str]:
    """Metadata as ``metadata_props``: property name -> JSON."""
    return {key: json.dumps(value) for key, value in dataclasses.asdict(metadata).items()}


def from_props(props: Mapping[str, str]) -> Metadata:
    """Parse ``metadata_props``.

    Raises:
        InputError: not one of our models, a newer schema, or a field missing or of the wrong type.
    """
    if "kind" not in props:
        raise InputError(
            "not a model of this project: it has no 'kind' in its metadata; export it with 'trainer ... export'"
        )
    raw: dict[str, Any] = {}
    for key, text in props.items():
        try:
            raw[key] = json.loads(text)
        except (ValueError, RecursionError):
            continue  # a property of another tool, whose values need not be JSON
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"unknown model kind {kind!r}; this runtime knows {', '.join(_KINDS)}")
    if raw.get("schema") != SCHEMA_VERSION:
        raise InputError(f"model schema {raw.get('schema')!r}, expected {SCHEMA_VERSION}; export the model again")
    cls = _KINDS[kind]
    return typing.cast(Metadata, _build(cls, raw, cls.__name__))


def _build(cls: type, raw: Any, path: str) -> Any:
    """Build dataclass ``cls`` from parsed JSON, checking every field's type."""
    if not isinstance(raw, dict):
        raise InputError(f"model metadata {path}: expected an object, found {type(raw).__name__}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(cls):
        if item.name in raw:
            values[item.name] = _convert(hints[item.name], raw[item.name], f"{path}.{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise InputError(f"model metadata {path}: field '{item.name}' is missing; export the model again")
    return cls(**values)


def _convert(hint: Any, value: Any, path: str) -> Any:
    """``value`` as the type ``hint``; JSON's lists become tuples and its objects dataclasses."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(arg for arg in args if arg is not type(None)), value, path)
    if origin is Literal:
        if value in args:
            return value
        raise InputError(f"model metadata {path}: expected one of {list(args)}, found {value!r}")
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path)
    if origin is tuple and isinstance(value, list):
        item_hints = args[:1] * len(value) if args[-1] is Ellipsis else args
        if len(item_hints) != len(value):
            raise InputError(f"model metadata {path}: expected {len(item_hints)} values, found {len(value)}")
        return tuple(_convert(h, v, f"{path}[{i}]") for i, (h, v) in enumerate(zip(item_hints, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise InputError(f"model metadata {path}: expected {getattr(hint, '__name__', hint)}, found {value!r}"[:300])
