"""The packaged models: ``registry.json`` says what there is, what each file hashes to and how good it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile, load_model

MAIN_FILES = ("imfe.onnx", "rtstgcn.onnx")  # what a bare name stands for: the first that the entry has
HEAD_FILES = ("rtstgcn.onnx", "lstr.onnx")  # what names actions beside an IMFE: the first that is there


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One model of the zoo: its files with their hashes, and what its card says in figures."""

    name: str
    folder: Path
    sha256: dict[str, str]  # file name -> hash
    description: str = ""
    licence: str = ""
    data: str = ""
    made_by: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> Path:
        """The file that the bare name stands for."""
        return self.folder / next(name for name in (*MAIN_FILES, *self.sha256) if name in self.sha256)


@cache
def entries(registry: Path | None = None) -> dict[str, ZooEntry]:
    """Every entry of a registry (default: the packaged one), by name.

    The file is ``{"schema": 1, "models": {name: {"files": {file: sha256}, "description", "licence", "data",
    "made_by", "metrics"}}}``; files lie in the folder ``name`` beside it.

    Raises:
        InputError: the registry is damaged.
    """
    registry = registry or Path(str(resources.files("models_zoo") / "registry.json"))
    if not registry.is_file():
        return {}
    try:
        models = json.loads(registry.read_text("utf-8"))["models"]
        return {
            name: ZooEntry(
                name,
                registry.parent / name,
                dict(entry["files"]),
                description=entry.get("description", ""),
                licence=entry.get("licence", ""),
                data=entry.get("data", ""),
                made_by=entry.get("made_by", ""),
                metrics=dict(entry.get("metrics", {})),
            )
            for name, entry in models.items()
            if entry["files"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{registry}: not a model registry ({error!r}); install the package again") from None


def locate(reference: str | Path) -> Path:
    """The file that ``--model`` means: a path, or a zoo name (``hugadb``, or ``ut-interaction/rtstgcn.onnx``).

    Raises:
        InputError: neither a file nor a name of the zoo.
    """
    path = Path(reference)
    try:
        is_file, is_there = path.is_file(), path.exists() or path.is_symlink()
    except OSError as error:  # a path too long, or a folder that may not be read
        raise InputError(f"model '{str(reference)[:200]}': {error.strerror}; check the path") from None
    if is_file:
        return path
    name, _, file = str(reference).partition("/")
    entry = entries().get(name)
    # a name goes before a folder called the same: data sets often are
    if entry is not None and (not file or file in entry.sha256):
        return entry.folder / file if file else entry.main
    if is_there:
        return path
    raise InputError(
        f"model '{reference}': no such file, nor a packaged model; packaged are: {', '.join(entries()) or 'none'}"
    )


def open_model(reference: str | Path) -> ModelFile:
    """Load a path or a zoo name; a file of the zoo must hash to what the registry says.

    Raises:
        InputError: as ``locate`` and ``load_model``.
    """
    path = locate(reference)
    return load_model(path, sha256=_registered(path))


def in_precision(reference: str | Path, precision: str) -> Path:
    """The file of ``reference`` in ``fp32`` (the file itself) or ``int8`` (``imfe.int8.onnx`` beside ``imfe.onnx``).

    Raises:
        InputError: no such file.
    """
    path = locate(reference)
    if precision == "fp32":
        return path
    variant = path.with_suffix(f".{precision}.onnx")
    if not variant.exists():
        raise InputError(
            f"--precision {precision}: expected {variant} beside the model; make it with "
            f"'edge-quantize {reference} --mode auto --calibrate DATA --out {variant}'"
        )
    return variant


def head_beside(path: Path) -> Path | None:
    """The head that belongs to an IMFE: the first of `HEAD_FILES` in the same folder, if one is there."""
    heads = (path.parent / name for name in HEAD_FILES)
    return next((head for head in heads if head.is_file() and head != path), None)


def _registered(path: Path) -> str | None:
    for entry in entries().values():
        if path.name in entry.sha256 and path.parent.resolve() == entry.folder.resolve():
            return entry.sha256[path.name]
    return None
