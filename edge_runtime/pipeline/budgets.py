"""What each stage may take; `monitor` has what it did take.

The whole, ``capture_to_result``, is the promise: a result is known that long after the camera saw its last frame. By
default it is one hop of the source (6 frames at 30 FPS: 200 ms), the age at which the next result is due. The stages
share it out so that a run in which every stage keeps its budget both keeps the promise *and* keeps up with the source:

    stage          share   of              30 FPS, hop 6
    capture          10 %  hop                 20   ms   stamp -> taken by the network: decoding, waiting (live)
    preprocess        5 %  frame interval       1.7 ms
    imfe.encoder     45 %  frame interval      15   ms
    imfe.motion      10 %  frame interval       3.3 ms
    imfe.head        15 %  hop                 30   ms
    rtstgcn           5 %  hop                 10   ms
    sinks            10 %  hop                 20   ms   waiting for, and in, the sink thread

``--budgets FILE.toml`` sets any of them in milliseconds, one ``stage = number`` a line (``imfe.encoder = 20``). Its
table ``[health]`` is not ours: `edge_runtime.health.Thresholds`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge_runtime.errors import InputError
from edge_runtime.toml import read_toml

WHOLE = "capture_to_result"
STAGES = (
    *("capture", "preprocess", "imfe.encoder", "imfe.motion", "imfe.appearance", "imfe.head"),
    *("rtstgcn", "lstr", "sinks", WHOLE),
)

_FRAME_SHARES = {"preprocess": 0.05, "imfe.encoder": 0.45, "imfe.motion": 0.10}  # paid on every frame
_HOP_SHARES = {"capture": 0.10, "imfe.head": 0.15, "rtstgcn": 0.05, "sinks": 0.10}  # paid once a result
# Stages of some models only have the budget of the one they stand for, or run beside, and no share of their own: with
# an RGB stream at hop 1 the shares sum to 110 %.
BESIDE = {"imfe.appearance": "imfe.motion", "lstr": "rtstgcn"}


@dataclass(frozen=True, slots=True)
class Budgets:
    """Milliseconds for every stage of `STAGES`."""

    ms: Mapping[str, float]

    @classmethod
    def derive(
        cls,
        fps: float,
        hop: int,
        deadline_ms: float | None = None,
        overrides: Mapping[str, float] | None = None,
    ) -> Self:
        """Budgets of a source of ``fps`` frames a second with a result every ``hop`` frames.

        ``overrides`` (stage -> ms, as `read_overrides` gives) replace derived values; ``deadline_ms`` is
        ``capture_to_result`` and comes before theirs.

        Raises:
            InputError: a stage that does not exist, a value that is no positive number, or stages that sum to more
                than the whole.
        """
        given = dict(overrides or {})
        if deadline_ms is not None:
            given[WHOLE] = deadline_ms
        for stage, value in given.items():
            _check(stage, value)
        interval = 1000 / fps
        whole = given.get(WHOLE, hop * interval)
        slots = ((_FRAME_SHARES, min(interval, whole)), (_HOP_SHARES, min(hop * interval, whole)))
        derived = {stage: share * slot for shares, slot in slots for stage, share in shares.items()}
        parts = derived | {stage: value for stage, value in given.items() if stage != WHOLE}
        total = sum(parts.values())
        if total > whole * (1 + 1e-9):
            raise InputError(
                f"budgets: the stages sum to {total:.1f} ms, more than {WHOLE} = {whole:.1f} ms; "
                f"lower {max(parts, key=parts.__getitem__)} or raise {WHOLE} (--deadline-ms)"
            )
        all_parts = {stage: parts[like] for stage, like in BESIDE.items()} | parts | {WHOLE: whole}
        return cls({stage: all_parts[stage] for stage in STAGES})

    def ns(self, stage: str) -> int:
        return round(self.ms[stage] * 1e6)


def read_overrides(path: Path) -> dict[str, float]:
    """Stage -> ms from a budgets file.

    Raises:
        InputError: no such file, no TOML, a stage that does not exist, or a value that is no positive number.
    """
    tables = read_toml(path, "budgets file")
    tables.pop("health", None)  # thresholds of the health states share the file (cli/watch.py)
    flat = _flatten(tables)
    for stage, value in flat.items():
        _check(stage, value)
    return flat


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"imfe": {"head": 30}}`` -> ``{"imfe.head": 30}``: what TOML makes of a dotted key, undone."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _check(stage: str, value: Any) -> None:
    if stage not in STAGES:
        raise InputError(f"budgets: unknown stage '{stage}'; the stages are {', '.join(STAGES)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise InputError(f"budgets: {stage} must be a positive number of milliseconds, found {value!r}")
