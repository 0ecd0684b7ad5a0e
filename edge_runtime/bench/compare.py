"""Which of two is faster: models taken in turns, and this report against an earlier one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtime.bench.replay import Recording
from edge_runtime.errors import InputError
from edge_runtime.pipeline.budgets import WHOLE
from edge_runtime.report.report import SCHEMA_VERSION
from edge_runtime.sources.base import Frame

Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]
"""Milliseconds a frame (rounds, models)."""

ROUNDS = 20
_RESAMPLES = 2000


class Steps(Protocol):
    """What is needed of a recogniser to time it."""

    @property
    def hop(self) -> int: ...

    def step(self, frame: Frame) -> object: ...


def in_turns(
    recognisers: Sequence[Steps],
    recording: Recording,
    *,
    seconds: float,
    rounds: int = ROUNDS,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[Table, int]:
    """The table, and the frames of a round.

    Every round each model takes the same frames, forwards in one round and backwards in the next, so that a clock that
    sinks or a neighbour that wakes up is shared by all of them. ``seconds`` is the time for everything.
    """
    hop = max(recogniser.hop for recogniser in recognisers)
    first = [_time_frames(recogniser, recording, hop, clock) for recogniser in recognisers]
    frames = hop * max(1, int(seconds * 1e3 / rounds / sum(first) / hop))
    table = np.empty((rounds, len(recognisers)))
    for i in range(rounds):
        order = range(len(recognisers)) if i % 2 == 0 else reversed(range(len(recognisers)))
        for j in order:
            table[i, j] = _time_frames(recognisers[j], recording, frames, clock)
    return table, frames


def _time_frames(recogniser: Steps, recording: Recording, frames: int, clock: Callable[[], int]) -> float:
    start_ns = clock()
    for index in range(frames):
        recogniser.step(recording.frame(index, start_ns))
    return (clock() - start_ns) / frames / 1e6


def ratio_to_first(table: Table, column: int) -> tuple[float, float, float]:
    """Median over the rounds of a model's time against the first one's, and its 95 % confidence interval.

    A percentile bootstrap over rounds (2,000 resamples, fixed seed): rounds are the unit because what disturbs a
    measurement lasts longer than a frame. The median, because it is rare and large: of the same model twice, on a
    machine with 8 busy processes a core, the geometric mean found 1.8 to 21.
    """
    ratios = table[:, column] / table[:, 0]
    picks = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def compare_models(
    named: Sequence[tuple[dict[str, str], Steps]], recording: Recording, *, seconds: float
) -> dict[str, Any]:
    """What the report says of models taken in turns; ``named`` has ``name``, ``sha256`` and ``precision`` of each."""
    table, frames = in_turns([recogniser for _, recogniser in named], recording, seconds=seconds)
    models = []
    for column, (about, _) in enumerate(named):
        ratio, low, high = ratio_to_first(table, column)
        time_of = {"ms_per_frame": float(np.median(table[:, column]))}
        models.append(about | time_of | {"ratio": ratio, "ratio_low": low, "ratio_high": high})
    return {"rounds": len(table), "frames_per_round": frames, "models": models}


def read_report(path: Path) -> dict[str, Any]:
    """An earlier ``report.json``.

    Raises:
        InputError: no such file, or not a report of this schema.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--compare {path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"--compare {path}: not JSON; give the report.json of an earlier edge-bench") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA_VERSION or report.get("kind") != "bench":
        raise InputError(f"--compare {path}: not a report of edge-bench with schema {SCHEMA_VERSION}; measure it again")
    return report


def against(report: dict[str, Any], old: dict[str, Any], path: Path, fail_above: float) -> dict[str, Any]:
    """Every figure that both reports have, and whether it got worse by more than the share ``fail_above``.

    Raises:
        InputError: they were measured on different devices, at different rates or hops: no regression could be told.
    """
    for what, now, before in (
        ("device", _device(report), _device(old)),
        ("hop", report["run"]["hop"], old["run"]["hop"]),
        ("frame rate", report["run"]["fps"], old["run"]["fps"]),
    ):
        if now != before:
            raise InputError(f"--compare {path}: its {what} is {before}, this one's {now}; they cannot be compared")
    metrics = []
    for stage in report["stages"]:
        columns = ("p50_ms", "p90_ms", "p99_ms") if stage == WHOLE else ("p50_ms",)
        for column in columns if stage in old["stages"] else ():
            now, before = report["stages"][stage][column], old["stages"][stage][column]
            metrics.append(_metric(f"{stage} {column}", before, now, now / before - 1, fail_above))
    if report["throughput"] and old["throughput"]:
        now, before = report["throughput"]["frames_per_s"], old["throughput"]["frames_per_s"]
        metrics.append(_metric("throughput frames_per_s", before, now, before / now - 1, fail_above))
    return {"path": str(path), "fail_above": fail_above, "metrics": metrics}


def _device(report: dict[str, Any]) -> str:
    facts = report["device"]["facts"]
    return f"{facts['model'] or facts['cpu'] or facts['machine']}, {facts['cores']} cores"


def _metric(name: str, before: float, now: float, slower: float, fail_above: float) -> dict[str, Any]:
    """``slower`` is how much more time it takes now, whatever the metric counts."""
    return {"metric": name, "before": before, "now": now, "change": slower, "regressed": slower > fail_above}
