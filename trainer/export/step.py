"""Graph network -> ``rtstgcn.onnx``: the step graph of docs/architecture.md, with what the file says about itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import Provenance, RtStgcnLayer, RtStgcnMetadata
from edge_runtime.streams import RtStgcnBatch
from trainer.export import costgcn, rtstgcn, shiftgcn, stgcn
from trainer.export.frames import FrameGraph
from trainer.export.write import relative_error, write_model
from trainer.nets.costgcn import CoStGcn
from trainer.nets.network import FrameNetwork, GraphNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn
from trainer.nets.shiftgcn import ShiftGcn, ShiftLayer
from trainer.nets.stgcn import SlidingWindow

# Receptive fields compared with torch before a file is written: sums are renewed twice in three. A learnt kernel's
# window is whole after one, and at 69 taps each step is twenty times as dear.
PARITY_FIELDS = {"sum": 3, "window": 1}
PARITY_STEPS = 50  # and steps more


def export_rtstgcn(
    model: GraphNetwork, out: str | Path, name: str = "rtstgcn", provenance: Provenance | None = None
) -> float:
    """Write the step graph of a graph network that sees no future (its eval form) after comparing it with torch.

    Args:
        out: file to write.
        name: what the model calls itself.

    Returns:
        The relative error against torch.

    Raises:
        ParityError: graph and network disagree; no file is left.
        InputError: ``out`` cannot be written, or the network has no step graph.
    """
    model.eval()
    graph, layers = build_graph(model)
    assert isinstance(model, FrameNetwork)
    metadata = build_metadata(model.config, layers, name, provenance)
    return write_model(graph.model(name), metadata, out, lambda file: _parity(model, file), graph.order)


def build_graph(model: GraphNetwork) -> tuple[FrameGraph, tuple[RtStgcnLayer, ...]]:
    """The graph, and the memory that the runtime keeps for it.

    Raises:
        InputError: the network has no step graph.
    """
    match model:
        case RtStgcn():
            return rtstgcn.build_graph(model), tuple(_summing(layer) for layer in model.config.memories)
        case CoStGcn():
            sums, windows = _sensor_memory(model), tuple(_windowed(layer) for layer in model.config.layers)
            return costgcn.build_graph(model), sums + windows
        case ShiftGcn():
            shifts = tuple(window for layer in model.layers for window in _shifting(layer))
            return shiftgcn.build_graph(model), _sensor_memory(model) + shifts
        case SlidingWindow():
            channels = model.stream_channels
            window = RtStgcnLayer(channels, channels, model.window, dilation=1, memory="window")
            return stgcn.build_graph(model), (*_sensor_memory(model), window)
    raise InputError(
        f"{type(model).__name__} has no step graph: it labels recordings, looking {model.look_ahead} frames ahead; "
        "docs/networks.md says which networks stream"
    )


def _summing(layer: LayerConfig) -> RtStgcnLayer:
    return RtStgcnLayer(layer.in_channels, layer.out_channels, layer.taps, layer.dilation, layer.residual_delay)


def _windowed(layer: LayerConfig) -> RtStgcnLayer:
    return RtStgcnLayer(
        layer.in_channels, layer.out_channels, layer.taps, layer.dilation, layer.residual_delay, memory="window"
    )


def _shifting(layer: ShiftLayer) -> tuple[RtStgcnLayer, ...]:
    """The frames that a layer's two shifts reach back to."""
    c_in, c_out, frames = layer.config.in_channels, layer.config.out_channels, 1 + layer.past_in.reach
    return tuple(RtStgcnLayer(c, c_out, frames, dilation=1, memory="window") for c in (c_in, c_out))


def _sensor_memory(model: FrameNetwork) -> tuple[RtStgcnLayer, ...]:
    """The sums that sensor streams keep, which are the graph's first layers."""
    return tuple(_summing(memory) for memory in model.config.sensor_memories)


def build_metadata(
    config: NetworkConfig,
    layers: tuple[RtStgcnLayer, ...],
    name: str = "rtstgcn",
    provenance: Provenance | None = None,
) -> RtStgcnMetadata:
    """What the file says about itself."""
    return RtStgcnMetadata(
        kind="rtstgcn",
        in_channels=config.in_channels,
        graph=config.graph,
        labels=config.labels,
        layers=layers,
        fps=config.fps,
        source=config.source,
        background=config.background,
        name=name,
        provenance=provenance or Provenance(),
    )


def _parity(model: FrameNetwork, file: ModelFile) -> float:
    """Stream two people's noise step by step, state in place; relative error against ``forward`` on the whole."""
    assert isinstance(file.metadata, RtStgcnMetadata)
    fields = max(PARITY_FIELDS[layer.memory] for layer in file.metadata.layers)
    length = fields * model.receptive_field + PARITY_STEPS
    C, V = model.input_mean.shape
    noise = torch.randn(2, C, length, V, generator=torch.Generator().manual_seed(0))
    # noise that the network's own input normalisation makes a unit one, as it does to real input
    scale = torch.where(model.input_scale == 0, torch.ones_like(model.input_scale), model.input_scale)
    if model.sensors is not None:
        scale = scale / model.sensors.raw_units()[:, None]
    x = noise / scale[:, None] + model.input_mean[:, None]
    with torch.inference_mode():
        expected = model(x).permute(2, 0, 1).numpy()  # (L, N, classes)
    found = RtStgcnBatch(file, 2).steps(x.permute(2, 0, 1, 3).numpy())
    return relative_error(np.asarray(found), expected)
