"""The networks as streams: frame in, result out, state inside."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import LstrMetadata
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.clip import ClipStream
from edge_runtime.streams.imfe import ImfeStream
from edge_runtime.streams.lstr import LstrStream
from edge_runtime.streams.motion import ImfeOutput
from edge_runtime.streams.observer import Observer
from edge_runtime.streams.rtstgcn import RtStgcnBatch, RtStgcnStream


def open_motion_stream(
    model: str | Path | ModelFile,
    *,
    hop: int | None = None,
    threads: int = 1,
    provider: str = "cpu",
    spin: bool = False,
    lanes: int = 1,
    observer: Observer | None = None,
) -> ImfeStream | ClipStream:
    """The stream that fits the model: a streaming IMFE, or a third party's clip model, which has one lane."""
    file = model if isinstance(model, ModelFile) else open_model(model)
    if isinstance(file.metadata, ClipMetadata):
        return ClipStream(file, hop=hop, threads=threads, provider=provider, spin=spin, observer=observer)
    return ImfeStream(file, hop=hop, threads=threads, provider=provider, spin=spin, lanes=lanes, observer=observer)


def open_head_stream(model: str | Path | ModelFile) -> RtStgcnStream | LstrStream:
    """The stream that fits a head: logits of an IMFE's regions, one step a clip."""
    file = model if isinstance(model, ModelFile) else open_model(model)
    return LstrStream(file) if isinstance(file.metadata, LstrMetadata) else RtStgcnStream(file)


__all__ = [
    "ClipStream",
    "ImfeOutput",
    "ImfeStream",
    "LstrStream",
    "Observer",
    "RtStgcnBatch",
    "RtStgcnStream",
    "open_head_stream",
    "open_motion_stream",
]
