"""Overload for real: 30 frames a second offered to a network that takes 60 ms, under each policy, by the clock.

The decisions themselves are tested in `test_policy` on a simulated clock; here threads, queues, account and report are.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.bench.replay import PacedSource, Recording
from edge_runtime.events import Features, Summary
from edge_runtime.pipeline.assembly import load_models, open_recogniser
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import Governor, PolicyName, choose
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.sink import ReportSink
from edge_runtime.sources.base import Frame, SourceInfo
from tests.edge_runtime.pipeline.fakes import Keep
from tests.edge_runtime.streams.small_models import SmallImfe

FPS, HOP, CLIP = 30.0, 6, 6
FRAMES = 240  # 8 s
RECORDING = Recording([np.zeros((8, 8, 3), np.uint8)], SourceInfo("camera", "image", True, FPS), FPS)


def overload(policy: PolicyName, folder: Path, *, ms: float = 60) -> tuple[Summary, Keep, dict[str, Any], list[int]]:
    """A run: its summary, its events, its report, and how many frames waited whenever the network took one."""
    waiting: list[int] = []

    times = StageTimes()
    models = load_models(SmallImfe.make().save(folder / "imfe.onnx"), "none")
    recogniser, _ = open_recogniser(models, observe=times.lap)
    step = recogniser.step

    def slowly(frame: Frame) -> list[Opinion]:
        counts = pipeline.account.snapshot()
        waiting.append(counts["captured"] - counts["processed"] - sum(counts["dropped"].values()) - 1)
        time.sleep(ms / 1e3)
        return step(frame)

    recogniser.step = slowly  # type: ignore[method-assign]
    monitor = StageMonitor(Budgets.derive(FPS, HOP), times)
    keep, report = Keep(), ReportSink(monitor, folder=folder)
    pipeline = Pipeline(
        PacedSource(RECORDING, FRAMES),
        Lineup({"main": recogniser}),
        [keep, report],
        chosen=choose(policy, live=True, hop=HOP, clip_length=CLIP),
        times=times,
        monitor=monitor,
    )
    report.frames = pipeline.account.snapshot
    return pipeline.run(), keep, report.report(), waiting


def check_account(summary: Summary, keep: Keep, report: dict[str, Any]) -> None:
    frames = summary.frames
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values()) == FRAMES
    results = [event for event in keep.events if isinstance(event, Features)]
    assert summary.results == len(results) == frames["processed"] // CLIP  # every whole clip has its result
    assert report["frames"] == frames
    assert report["stages"][WHOLE]["n"] == summary.results


def ages_ms(keep: Keep, after_t: float = 0.0) -> list[float]:
    return [e.capture_to_result_ms for e in keep.events if isinstance(e, Features) and e.t >= after_t]


@pytest.mark.slow
def test_block_loses_nothing_and_says_how_late_it_is(tmp_path: Path) -> None:
    """Shows that every frame is processed, that ages grow, and that the report calls the run not steady."""
    summary, keep, report, waiting = overload("block", tmp_path)
    check_account(summary, keep, report)
    assert summary.frames["processed"] == FRAMES
    ages = ages_ms(keep)
    assert ages[-1] > 10 * ages[0]
    assert max(waiting) <= 3  # two in the queue, one in the capture thread's hand
    assert any(reason.startswith("not steady") for reason in report["verdict"]["reasons"])
    assert report["stages"][WHOLE]["misses"] == sum(age > 200 for age in ages)


@pytest.mark.slow
def test_drop_oldest_gives_every_result_in_time(tmp_path: Path) -> None:
    """Shows that half the frames go, one waits at most, and no result of those kept is late."""
    summary, keep, report, waiting = overload("drop-oldest", tmp_path)
    check_account(summary, keep, report)
    assert set(summary.frames["dropped"]) == {"overload"}
    assert max(waiting) <= 1
    assert np.percentile(ages_ms(keep), 90) < 200
    assert (
        sum(one["dropped"].get("overload", 0) for one in report["timeline"]["bins"])
        == (summary.frames["dropped"]["overload"])
    )


@pytest.mark.slow
def test_degrade_finds_a_level_that_keeps_the_budget_and_tells_every_step(tmp_path: Path) -> None:
    """Shows that after its changes results come in time again, and that each change is an event and in the report."""
    summary, keep, report, waiting = overload("degrade", tmp_path)
    check_account(summary, keep, report)
    changes = keep.faults
    assert changes and {change.kind for change in changes} == {"degraded"}
    settled = (changes[-1].t or 0) + 0.5
    assert np.percentile(ages_ms(keep, settled), 90) < 200
    assert max(waiting) <= CLIP
    assert [fault["kind"] for fault in report["faults"]] == [change.kind for change in changes]
    assert (tmp_path / "report.html").read_text().count("degraded: ") >= len(changes)


@pytest.mark.slow
def test_a_real_run_is_replayed_by_its_observations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the decisions of a run by the clock are a function of what was observed, and of nothing else."""
    observed: list[tuple[int, int, int]] = []
    decided: list[object] = []
    observe = Governor.observe

    def spy(governor: Governor, captured_ns: int, result_ns: int, lost: int) -> object:
        observed.append((captured_ns, result_ns, lost))
        decided.append(observe(governor, captured_ns, result_ns, lost))
        return decided[-1]

    monkeypatch.setattr(Governor, "observe", spy)
    overload("degrade", tmp_path)
    monkeypatch.undo()
    again = Governor(
        choose("degrade", live=True, hop=HOP, clip_length=CLIP),
        Budgets.derive(FPS, HOP).ns(WHOLE),
    )
    assert any(decided)
    assert [again.observe(*one) for one in observed] == decided
