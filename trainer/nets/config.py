"""The JSON configurations of graph networks: Realtime-ST-GCN's two published dialects and our additions to them.

New dialect: ``{"processor": {...}, "arch": {..., "<network>": {...}}, ...}``, where a network's own section overrides
what ``arch`` says for all. Old dialect: ``{"model": {...}, ...}`` with one list entry a stage. Both become one flat
dict of options; everything else of the file is kept in ``raw``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from trainer.nets.graph import STRATEGIES, Strategy, load_graph, parse_graph
from trainer.nets.layers import Normalization

DEFAULT_NETWORK = "rt-st-gcn"
# published CoST-GCN configurations keep their options under ST-GCN's name, MS-GCN's its refinement under MS-TCN's
_BORROWED = {"co-st-gcn": ("st-gcn",), "ms-gcn": ("ms-tcn",)}
_PER_STAGE = ("layers", "kernel", "in_ch", "out_ch", "stride", "residual", "dropout", "dilation")


@dataclass(frozen=True)
class NetworkOptions:
    """What a configuration file says about a network, without interpretation of the network's own keys."""

    path: Path
    network: str  # "rt-st-gcn", "co-st-gcn", ...
    options: dict[str, Any]
    raw: dict[str, Any] = field(repr=False)  # the whole file
    used: set[str] = field(default_factory=set, repr=False, compare=False)

    def get(self, key: str, default: Any = None) -> Any:
        """An option, or ``default`` when the file does not name it."""
        self.used.add(key)
        return self.options.get(key, default)

    def integer(self, key: str, default: int | None = None, minimum: int = 1) -> int:
        """A whole number of at least ``minimum``."""
        return self._integer(self.get(key, default), key, minimum)

    def _integer(self, value: Any, key: str, minimum: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise InputError(f"{self.path}: '{key}' should be a whole number >= {minimum}, found {value!r}")
        return value

    def integers(self, key: str, length: int, default: int | None = None, minimum: int = 1) -> tuple[int, ...]:
        """One whole number a layer; a single number is meant for every layer."""
        value = self.get(key, default)
        values = value if isinstance(value, list) else [value] * length
        if len(values) != length:
            raise InputError(f"{self.path}: '{key}' has {len(values)} entries for {length} layers")
        return tuple(self._integer(item, key, minimum) for item in values)

    def number(self, key: str, default: float) -> float:
        """A finite number >= 0."""
        return self._number(self.get(key, default), key)

    def _number(self, value: Any, key: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise InputError(f"{self.path}: '{key}' should be a number >= 0, found {value!r}")
        return float(value)

    def numbers(self, key: str, length: int, default: float) -> tuple[float, ...]:
        """One number a layer; a single number is meant for every layer."""
        value = self.get(key, default)
        values = value if isinstance(value, list) else [value] * length
        if len(values) != length:
            raise InputError(f"{self.path}: '{key}' has {len(values)} entries for {length} layers")
        return tuple(self._number(item, key) for item in values)

    def flag(self, key: str, default: bool) -> bool:
        """true or false (or 1 or 0)."""
        value = self.get(key, default)
        if value not in (True, False):
            raise InputError(f"{self.path}: '{key}' should be true or false, found {value!r}")
        return bool(value)

    @property
    def strategy(self) -> Strategy:
        """The graph's partition strategy."""
        value = self.get("strategy", "spatial")
        if value not in STRATEGIES:
            raise InputError(f"{self.path}: 'strategy' should be one of {', '.join(STRATEGIES)}, found {value!r}")
        return value  # type: ignore[no-any-return]

    @property
    def normalization(self) -> Normalization:
        """LayerNorm (published default) or BatchNorm."""
        value = self.get("normalization", "LayerNorm")
        if value not in get_args(Normalization):
            raise InputError(f"{self.path}: 'normalization' should be LayerNorm or BatchNorm, found {value!r}")
        return value  # type: ignore[no-any-return]

    @property
    def graph(self) -> Graph:
        """The graph, given inline or as a file's path (as written, beside the configuration, or packaged)."""
        value = self.get("graph")
        if isinstance(value, str):
            return load_graph(self.resolve(value))
        return parse_graph(value, f"{self.path}: 'graph'")

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names, given inline or as a file's path; None when that file is not here."""
        value = self.get("actions")
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if isinstance(value, str):
            file = self.resolve(value)
            return read_labels(file) if file.is_file() else None
        return None

    def resolve(self, path: str) -> Path:
        """``path`` as written, or relative to the configuration's folder when that exists."""
        beside = self.path.parent / path
        return beside if not Path(path).is_file() and beside.is_file() else Path(path)

    @property
    def unused(self) -> list[str]:
        """Options that nobody asked for so far: kept in ``raw``, worth showing (a typo looks like this)."""
        return sorted(self.options.keys() - self.used)


def read_options(path: str | Path) -> NetworkOptions:
    """Read a configuration file, see :func:`options_of`.

    Raises:
        InputError: no such file, not JSON, or neither dialect.
    """
    return options_of(read_json(path), path)


def read_json(path: str | Path) -> Any:
    """The content of a configuration file.

    Raises:
        InputError: no such file, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"configuration {path} is not JSON: {error}") from error


def options_of(raw: Any, path: str | Path) -> NetworkOptions:
    """What a configuration says about a network.

    Args:
        raw: the parsed file.
        path: where it is from, for messages and for the files that it names.

    Raises:
        InputError: neither dialect.
    """
    if isinstance(raw, dict) and isinstance(raw.get("arch"), dict):
        processor, arch = raw.get("processor", {}), raw["arch"]
        network = str(processor.get("model", DEFAULT_NETWORK))
        sections = (network, *_BORROWED.get(network, ()))
        own: dict[str, Any] = next((arch[name] for name in sections if isinstance(arch.get(name), dict)), {})
        shared = {key: value for key, value in arch.items() if not isinstance(value, dict) or key == "graph"}
        options = {**processor, **shared, **own}
    elif isinstance(raw, dict) and isinstance(raw.get("model"), dict):
        options = {key: _first_stage(key, value) for key, value in raw["model"].items()}
        network = str(options.get("model", DEFAULT_NETWORK))
    else:
        raise InputError(f"{path}: expected a configuration with 'arch' (or, in the older dialect, 'model')")
    options.pop("model", None)
    return NetworkOptions(Path(path), network, options, raw)


def _first_stage(key: str, value: Any) -> Any:
    """The old dialect lists one value a stage; the networks that it describes have one stage."""
    return value[0] if key in _PER_STAGE and isinstance(value, list) and len(value) == 1 else value


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Class names from an action list: one a line, in the order of the indices, each optionally led by its index.

    Raises:
        InputError: unreadable, empty, or indices that are not 0, 1, 2, ...
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read action list {path}: {error}") from error
    if not lines:
        raise InputError(f"action list {path} is empty, expected one class a line")
    split = [line.split(maxsplit=1) for line in lines]
    if not all(len(parts) == 2 and parts[0].rstrip(".:,").isdigit() for parts in split):
        return tuple(lines)
    indices = [int(parts[0].rstrip(".:,")) for parts in split]
    if sorted(indices) != list(range(len(lines))):
        raise InputError(f"action list {path}: expected the indices 0 to {len(lines) - 1}, found {indices[:5]}...")
    return tuple(parts[1] for _, parts in sorted(zip(indices, split, strict=True)))


def numbered_labels(count: int) -> tuple[str, ...]:
    """Names for classes that nobody named."""
    return tuple(f"class {index}" for index in range(count))


def centred(taps: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Frames from the middle of each layer's window to its end."""
    return tuple(k // 2 * d for k, d in zip(taps, dilation, strict=True))


def residual_delays(options: NetworkOptions, taps: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """``latency``, in frames a layer: false = causal, true = centred on the window, a number, or one a layer."""
    value = options.get("latency", False)
    if value is True:
        return centred(taps, dilation)
    if value is False:
        return (0,) * len(taps)
    delays = options.integers("latency", len(taps), minimum=0)
    for index, (delay, k, d) in enumerate(zip(delays, taps, dilation, strict=True)):
        if delay > (k - 1) * d:
            raise InputError(f"{options.path}: 'latency' {delay} of layer {index} is beyond its window of {k * d}")
    return delays
