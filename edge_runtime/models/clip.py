"""Third-party clip models: a whole clip in, one feature out, no metadata (what the published IMFE exporter writes)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Precision, Provenance


@dataclass(frozen=True, slots=True)
class ClipMetadata:
    """A clip model ``(1, clip_length, 3, height, width) -> (1, feature_dim)``, known by its signature alone.

    How its frames are to be normalised and how fast they follow each other is in the properties ``mean``, ``std`` and
    ``fps`` of files that ``trainer imfe export --form clip`` wrote. Others do not say; the defaults are the published
    ones (RT-HARE ``dataloader.py``: mean and std on the 0-255 scale, RGB, 30 frames a second).
    """

    height: int
    width: int
    clip_length: int
    feature_dim: int
    input_name: str
    output_name: str
    kind: str = "clip"
    fps: float = 30.0
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    region_grid: tuple[int, int] = (1, 1)
    precision: Precision = "fp32"
    name: str = "clip"
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return self.clip_length

    @property
    def hops(self) -> tuple[int, ...]:
        """Any hop can be served (each costs a whole clip); a clip at a time is the default."""
        return (self.clip_length, *range(1, self.clip_length))


def from_signature(graph: onnx.GraphProto, props: Mapping[str, str]) -> ClipMetadata | None:
    """Metadata of a clip model, None if the graph's inputs and outputs are not those of one.

    Args:
        props: properties of the file, as JSON; what they do not state keeps its default.

    Raises:
        InputError: inputs that are not float32, or a property that makes no sense.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        return None
    shape, feature = _static_shape(inputs[0]), _static_shape(graph.output[0])
    if len(shape) != 5 or len(feature) != 2:
        return None
    batch, clip_length, channels, height, width = shape
    if (batch, channels, feature[0]) != (1, 3, 1) or min(clip_length, height, width, feature[1]) < 1:
        return None
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise InputError(f"clip model: input '{inputs[0].name}' must be float32; export it again in fp32")
    names = inputs[0].name, graph.output[0].name
    return ClipMetadata(height, width, clip_length, feature[1], *names, **_stated(props))


def _stated(props: Mapping[str, str]) -> dict[str, Any]:
    """``fps``, ``mean`` and ``std`` where the file has them."""
    stated: dict[str, Any] = {}
    for key, count in (("fps", 1), ("mean", 3), ("std", 3)):
        if key not in props:
            continue
        try:
            values = tuple(float(value) for value in np.atleast_1d(json.loads(props[key])))
        except (ValueError, TypeError, RecursionError):
            values = ()
        if len(values) != count or not np.isfinite(values).all() or (key != "mean" and min(values) <= 0):
            raise InputError(f"clip model: property '{key}' is {props[key][:40]!r}, expected {count} number(s) above 0")
        stated[key] = values[0] if key == "fps" else values
    return stated


def _static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions of a tensor, 0 where one is symbolic; a symbolic batch counts as 1, which is what is fed."""
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if dims and dims[0] == 0:
        dims[0] = 1
    return tuple(dims)
