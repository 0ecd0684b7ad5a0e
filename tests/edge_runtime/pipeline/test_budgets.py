"""Budgets: where they come from, what is refused, and how keeping them is counted."""

import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.pipeline.budgets import STAGES, WHOLE, Budgets, StageMonitor, read_overrides
from edge_runtime.report.histogram import RELATIVE_ERROR

MS = 1_000_000


def test_the_whole_is_one_hop_of_the_source() -> None:
    assert Budgets.derive(fps=30, hop=6).ms[WHOLE] == pytest.approx(200)


@given(st.floats(1, 240), st.integers(1, 30), st.none() | st.floats(1, 5000))
def test_a_run_that_keeps_every_stage_budget_keeps_the_whole_and_keeps_up(
    fps: float, hop: int, deadline_ms: float | None
) -> None:
    """Shows that the shares are a promise: their sum is within the whole, a hop's work within a hop's time."""
    ms = Budgets.derive(fps, hop, deadline_ms).ms
    assert set(ms) == set(STAGES)
    assert sum(value for stage, value in ms.items() if stage != WHOLE) <= ms[WHOLE] * (1 + 1e-9)
    per_frame = ms["preprocess"] + ms["imfe.encoder"] + ms["imfe.motion"]
    assert hop * per_frame + ms["imfe.head"] + ms["rtstgcn"] <= hop * 1000 / fps * (1 + 1e-9)


def test_a_file_sets_stages_and_a_flag_comes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text("capture_to_result = 300\nimfe.encoder = 25\n[imfe]\nhead = 40\n".replace("[imfe]\n", "imfe."))
    overrides = read_overrides(path)
    assert overrides == {"capture_to_result": 300, "imfe.encoder": 25, "imfe.head": 40}
    assert Budgets.derive(30, 6, overrides=overrides).ms[WHOLE] == 300
    budgets = Budgets.derive(30, 6, deadline_ms=250, overrides=overrides)
    assert (budgets.ms[WHOLE], budgets.ms["imfe.encoder"], budgets.ns("imfe.head")) == (250, 25, 40 * MS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("imfe.decoder = 5", "unknown stage 'imfe.decoder'; the stages are capture, preprocess"),
        ("imfe.head = -5", "imfe.head must be a positive number of milliseconds, found -5"),
        ("imfe.head = 0", "found 0"),
        ("imfe.head = nan", "found nan"),
        ("imfe.head = true", "found True"),
        ('imfe.head = "5 ms"', "found '5 ms'"),
        ("imfe.head = ", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_in_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_overrides(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        read_overrides(tmp_path / "none.toml")


def test_stages_that_sum_to_more_than_the_whole_are_refused() -> None:
    with pytest.raises(InputError, match=r"sum to 26\d\.\d ms, more than capture_to_result = 200\.0 ms; lower rtstgcn"):
        Budgets.derive(30, 6, overrides={"rtstgcn": 170.0})


@pytest.mark.parametrize("deadline_ms", [0.0, -1.0, float("inf")])
def test_a_deadline_that_is_no_positive_number_is_refused(deadline_ms: float) -> None:
    with pytest.raises(InputError, match="capture_to_result must be a positive number"):
        Budgets.derive(30, 6, deadline_ms=deadline_ms)


def test_misses_and_the_longest_run_of_them_are_counted() -> None:
    """Shows that 2 misses, a hit and 3 misses are 5 misses and a longest run of 3."""
    monitor = StageMonitor(Budgets.derive(30, 6))  # rtstgcn: 10 ms
    for frame, ms in enumerate([11, 12, 10, 13, 14, 15]):
        monitor.record("rtstgcn", ms * MS, frame)
    figures = monitor.summary()["rtstgcn"]
    assert (figures["n"], figures["misses"], figures["longest_miss_run"]) == (6, 5, 3)


def test_the_summary_has_the_stages_that_ran_and_the_figures_of_each() -> None:
    monitor = StageMonitor(Budgets.derive(30, 6))
    for frame in range(1000):
        monitor.record("imfe.encoder", (frame + 1) * 10_000, frame)
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
    monitor = StageMonitor(Budgets.derive(30, 6))
    for frame in range(1024):
        monitor.record("rtstgcn", (50 if frame < 512 else 1) * MS, frame)
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
    monitor = StageMonitor(Budgets.derive(30, 6))
    for frame in range(40):
        monitor.record("imfe.encoder", (90 if frame == 17 else 9) * MS, frame)
        monitor.record("imfe.motion", 2 * MS, frame)
    for frame in range(5, 40, 6):  # results are recorded later, by another thread
        monitor.record("capture_to_result", (150 if frame == 17 else 30) * MS, frame)
    worst = monitor.worst()
    assert worst[0].frame == 17
    assert worst[0].capture_to_result_ms == 150
    assert worst[0].stages_ms == {"imfe.encoder": 90, "imfe.motion": 2}
    assert [item.frame for item in worst[1:]] == [5, 11, 23, 29, 35]


def test_only_the_ten_worst_frames_are_kept() -> None:
    monitor = StageMonitor(Budgets.derive(30, 6))
    for frame in range(500):
        monitor.record("capture_to_result", (frame * 37 % 500 + 1) * MS, frame)
    assert [item.capture_to_result_ms for item in monitor.worst()] == [float(ms) for ms in range(500, 490, -1)]


def test_a_stage_that_does_not_exist_is_a_bug_and_says_so() -> None:
    monitor = StageMonitor(Budgets.derive(30, 6))
    monitor.record("imfe.decoder", 1, 0)
    with pytest.raises(KeyError):
        monitor.summary()


def test_recording_retains_no_memory_and_many_threads_lose_nothing() -> None:
    """Shows that 4 threads of 5,000 frames each, with a reader beside them, are counted to the last one."""
    monitor = StageMonitor(Budgets.derive(30, 6))

    def record(stage: str) -> None:
        for frame in range(5000):
            monitor.record(stage, 1000 * frame, frame)

    threads = [threading.Thread(target=record, args=(stage,)) for stage in STAGES[:4]]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        monitor.live()
    assert [figures["n"] for figures in monitor.summary().values()] == [5000] * 4
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        record("rtstgcn")
        monitor.live()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4096
