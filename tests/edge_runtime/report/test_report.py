"""report.json: true to its schema, judged by stated rules, whole or absent on disk."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_runtime.errors import InputError
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.report import schema, with_verdict, write
from edge_runtime.report.sink import ReportSink
from edge_runtime.report.verdict import judge
from tests.edge_runtime.report import fixture


@pytest.fixture(scope="module")
def troubled() -> dict[str, Any]:
    return fixture.run()


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return fixture.run(throttles=False)


def as_read(report: dict[str, Any]) -> Any:
    return json.loads(json.dumps(report, allow_nan=False))


def test_the_report_keeps_its_schema(troubled: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(as_read(troubled), schema())


@pytest.mark.parametrize("spoil", ["stages", "verdict", "device"])
def test_the_schema_refuses_a_report_without_its_parts(troubled: dict[str, Any], spoil: str) -> None:
    incomplete = as_read(troubled)
    del incomplete[spoil]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(incomplete, schema())


def test_histograms_hold_every_pass_and_frames_add_up(troubled: dict[str, Any]) -> None:
    for stage in troubled["stages"].values():
        assert sum(count for _, _, count in stage["histogram"]) == stage["n"]
    frames = troubled["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert sum(one["results"] for one in troubled["timeline"]["bins"]) == troubled["run"]["results"] == 300
    assert sum(one["dropped"].get("overload", 0) for one in troubled["timeline"]["bins"]) == 19


def test_the_worst_result_is_told_with_its_parts(troubled: dict[str, Any]) -> None:
    worst = troubled["worst"][0]
    assert worst["frame"] == 50 * fixture.FPS - 1
    assert worst["stages_ms"].keys() >= {"capture", "imfe.encoder", "imfe.head", "rtstgcn"}


def test_a_sound_run_is_valid_and_keeps_its_budgets(sound: dict[str, Any]) -> None:
    assert sound["verdict"] == {"valid": True, "reasons": [], "budgets_kept": True, "budgets_missed": []}


def test_a_throttled_run_is_not_valid_and_says_so(troubled: dict[str, Any]) -> None:
    assert not troubled["verdict"]["valid"]
    assert "the device was held back (throttled)" in troubled["verdict"]["reasons"][0]


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("run", "results"), 99, "99 results, at least 100"),
        (("run", "duration_s"), 19.0, "19.0 s measured, at least 20 s"),
        (("device", "facts", "governor"), "ondemand", "CPU governor 'ondemand'"),
        (("device", "other_percent_mean"), 25.0, "other programs took 25 % of all cores"),
        (("stages", "imfe.encoder", "std_ms"), 9.0, "unstable: coefficient of variation of imfe.encoder is 0.9"),
        (("settings", "provider"), "cuda", "provider cuda was asked for, imfe.encoder ran on the CPU"),
    ],
)
def test_each_ground_for_doubt_is_named(sound: dict[str, Any], where: tuple[str, ...], value: Any, reason: str) -> None:
    doubtful = deepcopy(sound)
    *path, last = where
    place = doubtful
    for key in path:
        place = place[key]
    place[last] = value
    (found,) = judge(doubtful)["reasons"]
    assert reason in found


def test_results_that_age_over_the_run_are_not_steady(sound: dict[str, Any]) -> None:
    """Shows that a queue that builds up, or a device that heats up, is seen in the second half."""
    doubtful = deepcopy(sound)
    for one in doubtful["timeline"]["bins"]:
        one["mean_ms"] = None if one["mean_ms"] is None else one["mean_ms"] * (1 + one["t_s"] / 60)
    (found,) = judge(doubtful)["reasons"]
    assert found.startswith("not steady: results of the second half are")


def test_the_performance_governor_and_an_unknown_one_are_no_ground_for_doubt(sound: dict[str, Any]) -> None:
    for governor in ("performance", None):
        report = deepcopy(sound)
        report["device"]["facts"]["governor"] = governor
        assert judge(report)["valid"]


def test_a_budget_missed_at_p99_is_named_and_leaves_the_report_valid(sound: dict[str, Any]) -> None:
    """Shows that validity is about measuring and budgets are about speed."""
    slow = deepcopy(sound)
    slow["stages"]["imfe.head"]["budget_ms"] = 5.0
    verdict = judge(slow)
    assert verdict["valid"]
    assert [text.split(":")[0] for text in verdict["budgets_missed"]] == ["imfe.head"]


def test_writing_leaves_both_files_and_no_remains(sound: dict[str, Any], tmp_path: Path) -> None:
    write(sound, tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.html", "report.json"]
    assert json.loads((tmp_path / "new" / "folder" / "report.json").read_text()) == as_read(sound)


def test_the_sink_writes_when_it_is_closed(tmp_path: Path) -> None:
    report = fixture.run(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["stages"] == as_read(report)["stages"]


def test_a_run_without_a_summary_leaves_no_report_nor_an_earlier_one(tmp_path: Path) -> None:
    fixture.run(tmp_path, seconds=1)
    sink = ReportSink(StageMonitor(Budgets.derive(30, 6), StageTimes()), folder=tmp_path)
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"report folder .*file.*: .*name one that can be written to"):
        ReportSink(StageMonitor(Budgets.derive(30, 6), StageTimes()), folder=tmp_path / "file" / "below")


def test_a_verdict_is_given_anew_when_something_was_added(sound: dict[str, Any]) -> None:
    longer = deepcopy(sound)
    longer["run"]["results"] = 3
    assert not with_verdict(longer)["verdict"]["valid"]
