"""Skeletons and body-worn sensors: a recorded file, or samples arriving on standard input.

``FILE.npy``   ``(C, L, V)`` or ``(C, L, V, M)`` in the dataset's layout, raw units; any integer or float type.
``FILE.csv``   a header, then one sample a line. Columns are ``NODE.CHANNEL`` (``head.x,head.y,hand.x,…``): nodes and
               channels keep the order in which they first appear. A column ``t`` holds seconds.
``-``          live, one sample a line: JSON, ``[[…V numbers…], …C rows…]`` or ``{"t": seconds, "x": [[…]]}``, where
               ``null`` is a missing value; or CSV as above.

A missing value (null, an empty cell) is NaN, and passed on as such: what stands in for it is the network's to say
(`streams.missing`: a node that is not seen keeps its last value, and is zero before it was first seen).

Samples come at ``t`` (a clock that was set back is passed on, and resets the networks), else ``rate`` a second, else,
on standard input, when they arrive.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError

Sample = npt.NDArray[np.float32]
Timed = tuple[float | None, Sample]  # t in seconds where the stream says it; (C, V) or (C, V, M)


class SkeletonSource(Closing):
    """Samples of an iterator of ``(t, sample)``, whose shape is the first one's.

    A sample of another shape, or one that does not parse, raises UnreadableFrameError and is passed.
    """

    def __init__(
        self,
        name: str,
        samples: Iterator[Timed | str],
        *,
        rate: float | None,
        live: bool,
        frames: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._info = SourceInfo(name, "skeleton", live, rate, frames=frames)
        self._samples = samples
        self._clock = clock
        self._first_ns: int | None = None
        self._shape: tuple[int, ...] = ()
        self._index = 0

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        item = next(self._samples, None)
        if item is None:
            return None
        captured_ns = self._clock()
        index, self._index = self._index, self._index + 1
        if isinstance(item, str):
            raise UnreadableFrameError(f"{self._info.name}: sample {index}: {item}")
        stated, sample = item
        self._shape = self._shape or sample.shape
        if sample.shape != self._shape:
            raise UnreadableFrameError(
                f"{self._info.name}: sample {index} has shape {sample.shape}, the ones before {self._shape}"
            )
        return Frame(sample, index, self._time(index, stated, captured_ns), captured_ns)

    def _time(self, index: int, stated: float | None, captured_ns: int) -> float:
        if stated is not None:
            return stated
        if self._info.fps:
            return index / self._info.fps
        if self._first_ns is None:
            self._first_ns = captured_ns
        return (captured_ns - self._first_ns) / 1e9


def open_skeleton(name: str, rate: float | None, default_rate: float) -> SkeletonSource:
    """``FILE.npy``, ``FILE.csv`` or ``-``; files without a clock play at ``rate``, else ``default_rate``, hertz.

    Raises:
        InputError: it cannot be read, or is none of these.
    """
    if name == "-":
        return open_lines(rate=rate)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"skeleton {path}: no such file")
    if path.suffix.lower() == ".npy":
        return open_npy(path, rate or default_rate)
    if path.suffix.lower() == ".csv":
        return open_csv(path, rate or default_rate)
    raise InputError(f"skeleton {path}: expected a .npy or .csv file, or - for standard input")


# numpy parses the header as Python, of an older numpy by way of the tokenizer; a zip archive opens under any name
_DAMAGED_NPY = (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, TokenError, BadZipFile)


def open_npy(path: Path, rate: float) -> SkeletonSource:
    """Errors as :func:`map_npy`."""
    array = map_npy(path)
    samples = ((None, np.asarray(array[:, i], np.float32)) for i in range(array.shape[1]))
    return SkeletonSource(str(path), samples, rate=rate, live=False, frames=array.shape[1])


def map_npy(path: Path) -> npt.NDArray[np.number[Any]]:
    """A recording (C, L, V[, M]), read from the file where it is looked at.

    Raises:
        InputError: no numeric array of 3 or 4 dimensions.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED_NPY as error:
        raise InputError(f"skeleton {path}: {_reason(error, 'not a .npy file of numbers')}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        kind = array.dtype if isinstance(array, np.ndarray) else "an .npz archive"
        raise InputError(f"skeleton {path}: expected numbers in a .npy file, found {kind}")
    if array.ndim not in (3, 4):
        hint = "; it looks like a whole dataset (N, C, L, V, M): take one trial, array[i]" if array.ndim == 5 else ""
        raise InputError(f"skeleton {path}: expected shape (C, L, V) or (C, L, V, M), found {array.shape}{hint}")
    if 0 in array.shape:
        raise InputError(f"skeleton {path}: it holds no sample, its shape is {array.shape}")
    return array


def open_csv(path: Path, rate: float) -> SkeletonSource:
    """Raises InputError for a file whose header does not name nodes and channels, or that holds no sample."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"skeleton {path}: {_reason(error, 'not UTF-8 text')}") from None
    if not lines:
        raise InputError(f"skeleton {path}: it is empty")
    layout = _Layout(lines[0], str(path))
    samples = [layout.parse(line) for line in lines[1:] if line.strip()]
    if not samples:
        raise InputError(f"skeleton {path}: a header and no sample")
    timed = [item[0] for item in samples if not isinstance(item, str) and item[0] is not None]
    fps = (len(timed) - 1) / (timed[-1] - timed[0]) if len(timed) > 1 and timed[-1] > timed[0] else rate
    return SkeletonSource(str(path), iter(samples), rate=fps, live=False, frames=len(samples))


def open_lines(
    lines: IO[str] | None = None, rate: float | None = None, clock: Callable[[], int] = time.monotonic_ns
) -> SkeletonSource:
    """Live samples, one a line, by default from standard input; waits for the first line to learn the format.

    Raises:
        InputError: the first line is neither a JSON sample nor a CSV header, or there is none.
    """
    name = "standard input"
    if isinstance(sys.stdin, io.TextIOWrapper):  # a byte that is no UTF-8 spoils its line, not the run
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    stream = sys.stdin if lines is None else lines
    first = stream.readline()
    if not first.strip():
        raise InputError(f"skeleton {name}: no line on it; expected a JSON sample or a CSV header")
    if first.lstrip()[0] in "[{":
        sample = parse_json(first)
        if isinstance(sample, str):
            raise InputError(f"skeleton {name}: first line: {sample}")
        return SkeletonSource(name, _json_lines(sample, stream), rate=rate, live=True, clock=clock)
    layout = _Layout(first.strip(), name)
    samples = (layout.parse(line) for line in stream if line.strip())
    return SkeletonSource(name, samples, rate=rate, live=True, clock=clock)


def parse_json(line: str) -> Timed | str:
    """One JSON sample, or what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "not JSON"
    t = None
    if isinstance(value, dict):
        t, value = value.get("t"), value.get("x")
        if t is not None and (isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t)):
            return f"expected seconds in 't', found {t!r}"[:200]
    try:
        sample = np.array(value, np.float32)  # null becomes NaN
    except (TypeError, ValueError, OverflowError):
        return "expected C rows of V numbers"
    if sample.ndim not in (2, 3) or not sample.size:
        return f"expected C rows of V numbers, found shape {sample.shape}"
    return t, sample


def _json_lines(first: Timed, stream: IO[str]) -> Iterator[Timed | str]:
    yield first
    for line in stream:
        if line.strip():
            yield parse_json(line)


class _Layout:
    """What a CSV header says: which column is which node's which channel."""

    def __init__(self, header: str, name: str) -> None:
        self._columns = [column.strip() for column in next(csv.reader([header]))]
        self._time = self._columns.index("t") if "t" in self._columns else None
        columns = [column for column in self._columns if column != "t"]
        if slip := _slip(columns):
            raise InputError(
                f"skeleton {name}: expected a header of NODE.CHANNEL columns, each once, every node with the same "
                f"channels (t,head.x,head.y,hand.x,hand.y); found {slip}"
            )
        nodes = list(dict.fromkeys(column.rpartition(".")[0] for column in columns))
        channels = list(dict.fromkeys(column.rpartition(".")[2] for column in columns))
        where = {column: i for i, column in enumerate(self._columns)}
        self._order = np.array([[where[f"{node}.{channel}"] for node in nodes] for channel in channels])  # (C, V)

    def parse(self, line: str) -> Timed | str:
        """One row, or what is wrong with it."""
        cells: Sequence[str] = next(csv.reader([line]))
        if len(cells) != len(self._columns):
            return f"expected {len(self._columns)} columns, found {len(cells)}"
        try:
            row = np.array([float(cell) if cell.strip() else math.nan for cell in cells])
        except ValueError as error:
            return str(error)[:200]
        t = None if self._time is None else float(row[self._time])
        if t is not None and not math.isfinite(t):
            return "no time in column 't'"
        return t, row[self._order].astype(np.float32)


def _slip(columns: Sequence[str]) -> str | None:
    """Why columns are not every channel of every node once: the likeliest slip. None where they are."""
    nodes_of: dict[str, list[str]] = {}  # by channel
    times = Counter(columns)
    for column in columns:
        node, _, channel = column.rpartition(".")
        if not (node and channel) or times[column] > 1:
            return repr(column[:40])
        nodes_of.setdefault(channel, []).append(node)
    if not nodes_of:
        return "none"
    rarest = min(nodes_of, key=lambda channel: len(nodes_of[channel]))
    having = set(nodes_of[rarest])
    lacking = [node for nodes in nodes_of.values() for node in nodes if node not in having]
    return f"'{nodes_of[rarest][0]}.{rarest}' but no '{lacking[0]}.{rarest}'"[:80] if lacking else None


def _reason(error: Exception, otherwise: str) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or otherwise
