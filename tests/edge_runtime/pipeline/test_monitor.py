"""What the stages took: how keeping the budgets is counted, and which frames are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.histogram import RELATIVE_ERROR

MS = 1_000_000


def watched() -> tuple[StageTimes, StageMonitor]:
    """A stopwatch, and the monitor that watches it: a source of 30 FPS, a result every 6 frames."""
    times = StageTimes()
    return times, StageMonitor(Budgets.derive(30, 6), times)


def test_misses_and_the_longest_run_of_them_are_counted() -> None:
    """Shows that 2 misses, a hit and 3 misses are 5 misses and a longest run of 3."""
    times, monitor = watched()  # rtstgcn: 10 ms
    for frame, ms in enumerate([11, 12, 10, 13, 14, 15]):
        times.tell("rtstgcn", 0, ms * MS, frame)
    figures = monitor.summary()["rtstgcn"]
    assert (figures["n"], figures["misses"], figures["longest_miss_run"]) == (6, 5, 3)


def test_the_summary_has_the_stages_that_ran_and_the_figures_of_each() -> None:
    times, monitor = watched()
    for frame in range(1000):
        times.tell("imfe.encoder", 0, (frame + 1) * 10_000, frame)
    (stage,) = monitor.summary()
    figures = monitor.summary()[stage]
    assert stage == "imfe.encoder"
    assert figures["mean_ms"] == pytest.approx(5.005)
    assert figures["max_ms"] == 10
    assert figures["budget_ms"] == pytest.approx(15)
    for key, true in [("p50_ms", 5), ("p90_ms", 9), ("p95_ms", 9.5), ("p99_ms", 9.9), ("p999_ms", 9.99)]:
        assert figures[key] == pytest.approx(true, rel=RELATIVE_ERROR)


def test_live_figures_speak_of_the_recent_past_only() -> None:
    """Shows that 512 fast passes make the live figures forget a slow start that the run's figures keep."""
    times, monitor = watched()
    for frame in range(1024):
        times.tell("rtstgcn", 0, (50 if frame < 512 else 1) * MS, frame)
    assert monitor.live()["rtstgcn"] == {
        "n": 512,
        "p50_ms": 1,
        "p90_ms": 1,
        "p95_ms": 1,
        "p99_ms": 1,
        "max_ms": 1,
        "budget_ms": pytest.approx(10),
        "miss_ratio": 0,
    }
    assert monitor.summary()["rtstgcn"]["p90_ms"] == pytest.approx(50, rel=RELATIVE_ERROR)


def test_the_worst_frames_keep_their_own_stage_times() -> None:
    """Shows that a slow result is explained by its frame's stages, not by those of frames that came since."""
    times, monitor = watched()
    for frame in range(40):
        times.tell("imfe.encoder", 0, (90 if frame == 17 else 9) * MS, frame)
        times.tell("imfe.motion", 0, 2 * MS, frame)
    for frame in range(5, 40, 6):  # results are recorded later, by another thread
        times.tell("capture_to_result", 0, (150 if frame == 17 else 30) * MS, frame)
    worst = monitor.worst()
    assert worst[0].frame == 17
    assert worst[0].capture_to_result_ms == 150
    assert worst[0].stages_ms == {"imfe.encoder": 90, "imfe.motion": 2}
    assert [item.frame for item in worst[1:]] == [5, 11, 23, 29, 35]


def test_only_the_ten_worst_frames_are_kept() -> None:
    times, monitor = watched()
    for frame in range(500):
        times.tell("capture_to_result", 0, (frame * 37 % 500 + 1) * MS, frame)
    assert [item.capture_to_result_ms for item in monitor.worst()] == [float(ms) for ms in range(500, 490, -1)]


def test_a_stage_that_does_not_exist_is_a_bug_and_says_so() -> None:
    times, monitor = watched()
    times.tell("imfe.decoder", 0, 1, 0)
    with pytest.raises(KeyError):
        monitor.summary()


def test_a_clip_model_without_parts_counts_as_the_head() -> None:
    times, monitor = watched()
    times.tell("imfe.clip", 0, MS, 0)
    assert set(monitor.summary()) == {"imfe.head"}


@given(st.lists(st.lists(st.integers(8, 13), max_size=6), max_size=8))
def test_misses_do_not_depend_on_when_somebody_looks(looks: list[list[int]]) -> None:
    """Shows that counted in any batches, misses and their longest run are those of counting one by one."""
    times, monitor = watched()
    every = [ms for batch in looks for ms in batch]
    for batch in looks:
        for frame, ms in enumerate(batch):
            times.tell("rtstgcn", 0, ms * MS, frame)  # budget: 10 ms
        monitor.live()
    runs = [len(run) for run in "".join("x" if ms > 10 else " " for ms in every).split()]
    figures = monitor.summary().get("rtstgcn", {"n": 0, "misses": 0, "longest_miss_run": 0})
    found = [figures[name] for name in ("n", "misses", "longest_miss_run")]
    assert found == [len(every), sum(runs), max(runs, default=0)]
