"""From the files that a dataset's authors publish to a directory dataset that the trainer reads.

One file a dataset, and its name is what ``trainer prepare`` calls it. Each has a function ``prepare(source, out, val)``
that yields :class:`Recording` s; :func:`write` puts them in place. To add a dataset, add a file: that is the hook.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from trainer.data.skeletons import save_trial

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """One trial: ``features`` (C, L, V), a class index a frame (L,), and the group that a split keeps together."""

    name: str
    group: str
    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]


class Dataset(Protocol):
    """What a file of this package offers."""

    LABELS: Sequence[str]  # class names, in the order of their indices
    GRAPH: str  # packaged skeleton
    FPS: float
    VAL: frozenset[str]  # groups that validate, unless others are named

    def recordings(self, source: Path) -> Iterator[Recording]:
        """Every trial of the published files under ``source``."""


def write(
    dataset: Dataset, source: Path, out: Path, val: frozenset[str] | None = None, protocol: str | None = None
) -> Counter[str]:
    """Write a directory dataset: ``actions.txt``, ``dataset.json``, ``train`` and ``val``.

    Args:
        val: groups that validate; the dataset's own choice by default.
        protocol: which of the dataset's published splits, where it has several.

    Returns:
        Trials a split.

    Raises:
        InputError: the published files are missing or damaged, or a group is in none of them.
    """
    if protocol is not None and protocol not in getattr(dataset, "PROTOCOLS", ()):
        offered = ", ".join(getattr(dataset, "PROTOCOLS", ())) or "none"
        raise InputError(f"--protocol {protocol}: this dataset offers {offered}")
    chosen = dataset.VAL if val is None else val
    out.mkdir(parents=True, exist_ok=True)
    labels = "".join(f"{i} {name}\n" for i, name in enumerate(dataset.LABELS))
    (out / "actions.txt").write_text(labels, encoding="utf-8")
    about = {"graph": dataset.GRAPH, "fps": dataset.FPS, "val": sorted(chosen)}
    (out / "dataset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    count: Counter[str] = Counter()
    groups: set[str] = set()
    for recording in dataset.recordings(source, **({"protocol": protocol} if protocol else {})):
        split = "val" if recording.group in chosen else "train"
        save_trial(out / split, recording.name, recording.features, recording.labels)
        count[split] += 1
        groups.add(recording.group)
    if not count:
        raise InputError(f"{source}: no recordings found")
    if val is not None and (absent := sorted(val - groups)):
        raise InputError(f"--val: '{absent[0]}' is none of the groups {', '.join(sorted(groups))}")
    if len(count) < 2:
        log.warning(
            "training needs both train and val: name with --val some of the groups %s", ", ".join(sorted(groups))
        )
    return count


def load_archive(file: Path, *keys: str) -> list[npt.NDArray[Any]]:
    """Arrays of an ``.npz``.

    Raises:
        InputError: missing, damaged, or without one of ``keys``.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except KeyError as error:
        raise InputError(f"{file}: {error.args[0]}; expected the arrays {', '.join(keys)}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: not a whole .npz file: {str(error).splitlines()[0]}") from error


def read_text(file: Path) -> str:
    """Content of a text file.

    Raises:
        InputError: missing, or not text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}") from error


def find(source: Path, name: str) -> Path:
    """``source`` itself when it is a file, else the file ``name`` in it."""
    return source if source.is_file() else source / name


def split_trials(offsets: npt.NDArray[Any], names: Iterable[Any]) -> Iterator[tuple[str, slice]]:
    """Name and frames of each trial of an archive that lays them end to end."""
    for name, start, stop in zip(names, offsets[:-1], offsets[1:], strict=True):
        yield str(name), slice(int(start), int(stop))
