"""The figures of edge-inspect, against a count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_runtime.cli.inspect import main
from edge_runtime.models.file import load_model
from edge_runtime.models.inspection import inspect


def test_rtstgcn_by_hand(models: dict[str, Path]) -> None:
    """Shows MACs as 2 products a layer, a residual projection, and the classifier (5 nodes, 2 partitions)."""
    report = inspect(load_model(models["rtstgcn"]))
    macs = 8 * 4
    parameters = 8 * 4
    for c_in, c_out in ((3, 6), (6, 6), (6, 8)):
        macs += 10 * 5 * c_in + 5 * 2 * c_in * c_out + 5 * c_in * c_out
        parameters += 10 * 5 + 2 * c_in * c_out + 5 * c_out + 2 * c_out + c_in * c_out
    assert (report.costs["step"].macs, report.costs["step"].parameters) == (macs, parameters)
    assert report.costs["step"].uncounted == 0
    assert report.macs_per_second == 30 * macs
    assert (report.receptive_field, report.delay) == (11, 0)
    assert report.receptive_field_s == pytest.approx(11 / 30)
    assert report.state_bytes == 4 * 5 * (6 * 6 * 1 + 6 * 5 * 2 + 8 * 4 * 3)


def test_imfe_by_hand(models: dict[str, Path]) -> None:
    report = inspect(load_model(models["imfe"]))
    positions = 4 * 6
    assert {stage: cost.macs for stage, cost in report.costs.items()} == {
        "encoder": 4 * positions * 3 * 64,
        "motion": 3 * positions * 8 * 9,
        "head": 7 * positions * 15,
    }
    each = report.costs
    per_clip = 6 * each["encoder"].macs + 5 * each["motion"].macs + each["head"].macs
    assert report.macs_per_second == pytest.approx(per_clip * 30 / 6)
    assert report.state_bytes == 4 * positions * (4 + 4 * 3)


def test_a_clip_model_costs_all_its_frames(models: dict[str, Path]) -> None:
    streaming, whole = inspect(load_model(models["imfe"])), inspect(load_model(models["clip"]))
    assert whole.macs_per_second == pytest.approx(streaming.macs_per_second)
    assert whole.receptive_field == 6


def test_lstr_by_hand(models: dict[str, Path]) -> None:
    report = inspect(load_model(models["lstr"]))
    assert (report.costs["step"].macs, report.costs["step"].parameters) == (7 * 6 * 4, 7 * 6 * 4 + 1)
    assert (report.receptive_field, report.delay, report.state_bytes) == (8, 0, 4 * 4 * 2 * (7 + 2))


@pytest.mark.parametrize("kind", ["imfe", "clip", "rtstgcn", "lstr"])
def test_the_command_prints_text_and_json(
    models: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(models[kind])]) == 0
    text = capsys.readouterr().out
    for word in ("precision", "receptive field", "delay", "MMAC", "state", "sha256"):
        assert word in text
    assert main([str(models[kind]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == kind


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(tmp_path / "absent.onnx")], ["--bogus"], []):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_the_zoo_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--zoo"]) == 0
    assert capsys.readouterr().out
    assert main(["--zoo", "--json"]) == 0
    json.loads(capsys.readouterr().out)
