"""Path -> verified model: the bytes are read once, hashed, checked, and everything later works on those bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edge_runtime.errors import InputError
from edge_runtime.models import clip, contract, trust
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.metadata import Metadata, from_props


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that passed every check; ``proto`` was parsed from ``data``, whose hash is ``sha256``."""

    path: Path
    sha256: str
    data: bytes
    proto: onnx.ModelProto
    metadata: Metadata | ClipMetadata


def load_model(path: str | Path, *, sha256: str | None = None) -> ModelFile:
    """Read and verify one model file.

    Args:
        path: an ``.onnx`` file.
        sha256: what the file must hash to (a registry's entry); None accepts any.

    Raises:
        InputError: one line: missing, a symbolic link out of its folder, too large, another hash, not ONNX, a content
            that ``trust`` refuses, not a model of ours, or metadata that contradict the graph.
    """
    path = Path(path)
    data = _read(path)
    if sha256 is not None and (digest := hashlib.sha256(data).hexdigest()) != sha256:
        raise InputError(f"{path}: sha256 expected {sha256}, found {digest}; download or train the model again")
    return verify(path, data)


def verify(path: Path, data: bytes) -> ModelFile:
    """Check the content of a model file; ``path`` is where it is, or will be written.

    Raises:
        InputError: as ``load_model``.
    """
    try:
        proto = _parse(data)
        metadata = _identify(proto)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return ModelFile(path, hashlib.sha256(data).hexdigest(), data, proto, metadata)


def _read(path: Path) -> bytes:
    try:
        if not path.resolve(strict=True).is_relative_to(path.parent.resolve(strict=True)):
            raise InputError(f"{path}: is a link out of its folder; give the model's own path")
        if not path.is_file():
            raise InputError(f"{path}: expected a model file, found a folder or device; name the .onnx file in it")
        with path.open("rb") as file:
            data = file.read(trust.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the model: {error.strerror}; check the path") from None
    except (ValueError, RuntimeError):  # a NUL in the path; a loop of links
        raise InputError(f"{str(path)!r}: not a usable path; check it") from None
    if not data:
        raise InputError(f"{path}: the file is empty; copy or export it again")
    if len(data) > trust.MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {trust.MAX_FILE_BYTES >> 20} MiB, the largest model accepted")
    return data


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(data)
    except (DecodeError, ValueError):
        raise InputError("not an ONNX model, or a truncated one; copy or export the file again") from None
    trust.check(proto)
    return proto


def _identify(proto: onnx.ModelProto) -> Metadata | ClipMetadata:
    props = {prop.key: prop.value for prop in proto.metadata_props}
    if "kind" not in props:
        clip_model = clip.from_signature(proto.graph, props)
        if clip_model is not None:
            return clip_model
    metadata = from_props(props)
    contract.check(metadata, proto.graph)
    return metadata
