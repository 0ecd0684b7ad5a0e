"""Datasets of labelled skeleton or sensor streams, in the two published layouts, memory-mapped.

::

    directory   DIR/actions.txt  DIR/train|val/features/NAME.npy  DIR/train|val/labels/NAME.csv
    one file    DIR/actions.txt  DIR/train_data.npy  DIR/train_label.pkl  (val_… likewise)

Features are (C, L, V), (C, L, V, M) or, in one file, (N, C, L, V, M): channels, frames, nodes, bodies; any number type.
Labels are class indices, one a frame; in one file also one a trial, meant for each of its frames. Of several bodies the
first is used (published). Only the trial in hand is in memory, so a dataset may be larger than that.
"""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]
Layout = Literal["dir", "file"]

CHECKED_AT_ONCE = 65_536  # frames read together when looking for NaN: bounds memory, not a property of the data


@dataclass(frozen=True, slots=True)
class Trial:
    """One recording: ``features`` (C, L, V), as stored and where stored, ``labels`` int64 (L,)."""

    name: str
    features: npt.NDArray[Any]
    labels: LabelArray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one trial lives: a memory-mapped (C, L, V[, M]) array and its labels."""

    name: str
    features: npt.NDArray[Any]
    labels: LabelArray
    origin: str  # what error messages call it


@dataclass(frozen=True, slots=True)
class TrialSet(Sequence[Trial]):
    """The trials of one split, sorted by name.

    Args:
        sources: where the trials live.
        classes: number of action names.
        view: what a trial's features (C, L, V) are turned into when it is taken out.
    """

    sources: tuple[Source, ...]
    classes: int
    view: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return replace(self, sources=self.sources[index])
        source = self.sources[index]
        features = source.features if source.features.ndim == 3 else source.features[..., 0]
        return Trial(source.name, self.view(features) if self.view else features, source.labels)

    def __iter__(self) -> Iterator[Trial]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> list[str]:
        """Trial names, in order."""
        return [source.name for source in self.sources]

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and nodes (C, V) of every trial."""
        first = self.sources[0].features.shape
        return int(first[0]), int(first[2])

    def frames_per_class(self) -> npt.NDArray[np.int64]:
        """Number of frames of each class, (classes,)."""
        counts = [np.bincount(source.labels, minlength=self.classes) for source in self.sources]
        return np.sum(counts, axis=0, dtype=np.int64) if counts else np.zeros(self.classes, dtype=np.int64)


def open_split(root: Path, split: str, classes: int, layout: Layout = "dir") -> TrialSet:
    """Open and check one split of a dataset; nothing that could stop a training later is left unchecked.

    Args:
        root: the dataset's folder.
        split: ``train`` or ``val``.
        classes: number of classes; labels run from 0 to ``classes - 1``.
        layout: ``dir`` or ``file``.

    Raises:
        InputError: files missing, truncated, of mismatched names, lengths or shapes, an empty trial, a label that is
            no class, a value that is no number, or a pickle that would execute code.
    """
    sources = _directory(root / split) if layout == "dir" else _single_file(root, split)
    if not sources:
        raise InputError(f"{root}: the split '{split}' has no trials")
    shape = sources[0].features.shape
    expected = (shape[0], shape[2]) if len(shape) > 2 else (0, 0)
    for source in sources:
        _check(source, classes, expected)
    return TrialSet(tuple(sources), classes)


def _directory(folder: Path) -> list[Source]:
    features = {file.stem: file for file in (folder / "features").glob("*.npy")}
    labels = {file.stem: file for file in (folder / "labels").glob("*.csv")}
    if not features and not labels:
        raise InputError(f"{folder}: expected features/*.npy and labels/*.csv; see 'trainer prepare --help'")
    if unmatched := sorted(features.keys() ^ labels.keys()):
        name = unmatched[0]
        lacks = "labels" if name in features else "features"
        raise InputError(
            f"{folder}: trial '{name}' has no {lacks} ({len(unmatched)} such); each NAME.npy needs a NAME.csv"
        )
    return [
        Source(name, map_array(features[name]), read_label_file(labels[name]), str(features[name]))
        for name in sorted(features)
    ]


def _single_file(root: Path, split: str) -> list[Source]:
    file = root / f"{split}_data.npy"
    data = map_array(file)
    if data.ndim != 5:
        raise InputError(f"{file}: expected 5 dimensions (N, C, L, V, M), found shape {data.shape}")
    label_file = root / f"{split}_label.pkl"
    names, labels = read_label_pickle(label_file, len(data), data.shape[2])
    return [
        Source(name, data[i], labels[i], f"{file} trial {i}")
        for i, name in sorted(enumerate(names), key=lambda item: item[1])
    ]


def map_array(file: Path) -> npt.NDArray[Any]:
    """Memory-map a ``.npy`` file of numbers.

    Raises:
        InputError: missing, truncated, or holding Python objects.
    """
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{file}: not a whole .npy file of numbers (truncated?): {str(error).splitlines()[0]}"
        ) from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{file}: expected numbers, found {array.dtype}")
    return array


def read_label_file(file: Path) -> LabelArray:
    """Class indices of a ``.csv``: one a line, or all on one line; a heading is skipped.

    Raises:
        InputError: something else than whole numbers.
    """
    try:
        rows = [row for row in csv.reader(file.read_text(encoding="utf-8").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read as CSV: {error}") from error
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if len(rows) > 1 and max(map(len, rows)) > 1:
        raise InputError(f"{file}: expected one class index a line, found {max(map(len, rows))} columns")
    values = np.zeros(sum(map(len, rows)))
    for i, cell in enumerate(cell for row in rows for cell in row):
        try:
            values[i] = float(cell)  # published files write 3 as 3.000e+00
        except ValueError as error:
            raise InputError(f"{file}: expected class indices, found {cell[:40]!r} on line {i + 1}") from error
    if not np.array_equal(values, np.round(values)):
        raise InputError(f"{file}: expected whole class indices, found {values[values != np.round(values)][0]}")
    return values.astype(np.int64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles lists, numbers, strings and numpy arrays; any other name in the file is refused, not looked up."""

    ALLOWED = frozenset(
        (f"{core}.{module}", name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(file: IO[bytes]) -> Any:
    """Unpickle plain data; ``pickle.UnpicklingError`` if it would execute anything."""
    return _PlainUnpickler(file).load()


def read_label_pickle(file: Path, trials: int, frames: int) -> tuple[list[str], list[LabelArray]]:
    """Names and per-frame labels of a ``_label.pkl``: ``(names, labels)`` or ``labels`` alone.

    Raises:
        InputError: missing, damaged, with code in it, or not fitting ``trials`` trials of ``frames`` frames.
    """
    try:
        with file.open("rb") as stream:
            content = load_plain_pickle(stream)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file}: refused: {error}; expected a plain (names, labels) pickle, nothing that executes"
        ) from error
    except (EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, OSError) as error:
        raise InputError(f"{file}: not a readable pickle: {error}") from error
    has_names = isinstance(content, tuple | list) and len(content) == 2 and _all_strings(content[0])
    names = [str(name) for name in content[0]] if has_names else [f"trial_{i:05d}" for i in range(trials)]
    labels = content[1] if has_names else content
    if not isinstance(labels, list | tuple | np.ndarray) or len(labels) != trials or len(names) != trials:
        found = len(labels) if isinstance(labels, list | tuple | np.ndarray) else type(labels).__name__
        raise InputError(f"{file}: expected labels of {trials} trials, found {found}")
    try:
        arrays = [np.asarray(label, dtype=np.int64) for label in labels]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{file}: expected class indices: {error}") from error
    return names, [np.full(frames, label) if label.ndim == 0 else label.reshape(-1) for label in arrays]


def _all_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _check(source: Source, classes: int, expected: tuple[int, int]) -> None:
    shape = source.features.shape
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"{source.origin}: expected (C, L, V) or (C, L, V, M), none of them 0; found shape {shape}")
    if (shape[0], shape[2]) != expected:
        raise InputError(
            f"{source.origin}: {shape[0]} channels and {shape[2]} nodes, the other trials have {expected[0]} and "
            f"{expected[1]}"
        )
    if shape[1] != len(source.labels):
        raise InputError(f"{source.origin}: {shape[1]} frames but {len(source.labels)} labels; they should be equal")
    low, high = int(source.labels.min()), int(source.labels.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"{source.origin}: label {low if low < 0 else high} is not among the {classes} classes 0 to {classes - 1} "
            "of the action list"
        )
    if source.features.dtype.kind == "f":
        for start in range(0, shape[1], CHECKED_AT_ONCE):
            bad = ~np.isfinite(source.features[:, start : start + CHECKED_AT_ONCE])
            if bad.any():
                frame = start + int(np.argwhere(bad)[:, 1].min())
                raise InputError(
                    f"{source.origin}: frame {frame} holds a value that is not finite; fill gaps when preparing the "
                    "data"
                )


def save_trial(folder: Path, name: str, features: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Write one trial of a directory dataset: ``features`` (C, L, V[, M]), ``labels`` (L,)."""
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    np.save(folder / "features" / f"{name}.npy", np.ascontiguousarray(features))
    text = "\n".join(str(int(label)) for label in labels)
    (folder / "labels" / f"{name}.csv").write_text(text + "\n", encoding="utf-8")
