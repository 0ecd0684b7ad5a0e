"""Models in turns, and a report against an earlier one."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.bench.compare import against, compare_models, in_turns, ratio_to_first, read_report
from edge_runtime.errors import InputError
from tests.edge_runtime.bench.test_measure import recogniser_taking
from tests.edge_runtime.bench.test_replay import THREE, Clock
from tests.edge_runtime.pipeline.fakes import FakeRecogniser
from tests.edge_runtime.report import fixture


def test_models_take_turns_forwards_and_backwards() -> None:
    """Shows that the order turns round every time: none always runs just after, or on a cooler device."""
    order: list[str] = []
    clock = Clock()

    def named(name: str, ms: float) -> FakeRecogniser:
        recogniser = recogniser_taking(ms, clock)
        work = recogniser.on_step
        recogniser.on_step = lambda frame: (order.append(name), work(frame))[1]
        return recogniser

    table, frames = in_turns([named("a", 10), named("b", 5)], THREE, seconds=0.12, rounds=4, clock=clock)
    assert frames == 2
    turns = "".join(order)[4:]  # after the one round that tells how long a turn is
    assert turns == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert table == pytest.approx(np.array([[10.0, 5.0]] * 4))


def test_a_ratio_is_exact_where_nothing_disturbs_and_its_interval_closes() -> None:
    table = np.array([[10.0, 5.0]] * 8)
    assert ratio_to_first(table, 1) == pytest.approx((0.5, 0.5, 0.5))


def test_what_disturbs_all_models_alike_leaves_the_ratio_alone() -> None:
    """Shows the reason for turns: a device that becomes four times slower half way changes no ratio."""
    slow_down = np.array([[1.0]] * 10 + [[4.0]] * 10)
    assert ratio_to_first(slow_down * np.array([[10.0, 8.0]]), 1) == pytest.approx((0.8, 0.8, 0.8))


def test_a_turn_that_was_interrupted_does_not_decide() -> None:
    """Shows that three of twenty rounds in which a neighbour took the core move neither end."""
    table = np.array([[10.0, 8.0]] * 20)
    table[[2, 9, 15], 1] = 400.0
    assert ratio_to_first(table, 1) == pytest.approx((0.8, 0.8, 0.8))


def test_the_interval_holds_the_truth_and_narrows_with_rounds() -> None:
    rng = np.random.default_rng(3)

    def noisy(rounds: int) -> tuple[float, float, float]:
        return ratio_to_first(np.exp(rng.normal(0, 0.1, (rounds, 2))) * np.array([[10.0, 7.0]]), 1)

    few, many = noisy(10), noisy(400)
    assert many[1] < 0.7 < many[2]
    assert many[2] - many[1] < (few[2] - few[1]) / 2


def test_compared_models_are_told_with_their_names() -> None:
    found = compare_models([({"name": n}, FakeRecogniser(hop=2)) for n in ("a", "b")], THREE, seconds=0.01)
    assert [model["name"] for model in found["models"]] == ["a", "b"]
    assert found["models"][0]["ratio"] == 1


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    return fixture.run(throttles=False) | {"throughput": {"frames_per_s": 100.0}}


def metrics(report: dict[str, Any], old: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    found = against(report, old, Path("old.json"), fail_above=0.05)["metrics"]
    return {one["metric"]: (round(one["change"], 3), one["regressed"]) for one in found}


def test_a_report_against_itself_shows_no_change(old: dict[str, Any]) -> None:
    found = metrics(old, old)
    assert set(found.values()) == {(0.0, False)}
    assert {"capture_to_result p99_ms", "imfe.encoder p50_ms", "throughput frames_per_s"} <= set(found)


def test_more_time_than_allowed_is_a_regression_and_less_is_none(old: dict[str, Any]) -> None:
    """Shows that +6 % fails a bound of 5 %, that +4 % and any gain pass, and that throughput counts the other way."""
    new = deepcopy(old)
    for stage, factor in (("imfe.encoder", 1.06), ("imfe.head", 1.04), ("rtstgcn", 0.5)):
        new["stages"][stage]["p50_ms"] *= factor
    new["throughput"]["frames_per_s"] = 80.0
    found = metrics(new, old)
    assert found["imfe.encoder p50_ms"] == (0.06, True)
    assert found["imfe.head p50_ms"] == (0.04, False)
    assert found["rtstgcn p50_ms"] == (-0.5, False)
    assert found["throughput frames_per_s"] == (0.25, True)


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [(("run", "hop"), 3, "its hop is 6, this one's 3"), (("device", "facts"), {"model": "Pi"}, "its device is")],
)
def test_reports_of_different_circumstances_are_not_compared(
    old: dict[str, Any], where: tuple[str, str], value: Any, what: str
) -> None:
    new = deepcopy(old)
    if isinstance(value, dict):
        new[where[0]][where[1]] |= value
    else:
        new[where[0]][where[1]] = value
    with pytest.raises(InputError, match=what):
        against(new, old, Path("old.json"), 0.05)


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "not JSON"), ("[]", "not a report of edge-bench"), ('{"schema": 99}', "with schema 1; measure it again")],
)
def test_what_is_not_a_report_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_report(path)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--compare .*none.json: No such file"):
        read_report(tmp_path / "none.json")


def test_a_report_is_read_as_it_was_written(tmp_path: Path, old: dict[str, Any]) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(old))
    assert read_report(path)["stages"] == json.loads(json.dumps(old["stages"]))
