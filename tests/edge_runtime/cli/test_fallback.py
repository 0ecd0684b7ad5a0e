"""``--fallback-model``: for policy degrade only, and part of what the run says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.edge_runtime.streams.small_models import SmallImfe


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallImfe.make(seed=1).save(tmp_path_factory.mktemp("smaller") / "imfe.onnx")


def test_the_run_tells_of_the_smaller_model_and_where_it_runs(
    inputs: Any, edge_run: Any, smaller: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    given = ("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", smaller, "--out", out)
    assert edge_run(*given, "--policy", "degrade").code == 0
    start, *_, summary = [json.loads(line) for line in out.read_text().splitlines()]
    assert set(start["models"]) == {"model", "head", "fallback model", "fallback head"}
    assert start["models"]["fallback head"] == start["models"]["head"]
    assert start["policy"] == "degrade"
    assert summary["providers"]["fallback imfe.encoder"] == "cpu"


def test_a_policy_that_never_turns_to_it_refuses_it(inputs: Any, edge_run: Any, smaller: Path) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", smaller, "--policy", "block")
    assert ran.code == 2
    assert "--fallback-model is for --policy degrade; --policy block never turns to it" in ran.err


def test_a_smaller_model_of_another_kind_is_refused(inputs: Any, edge_run: Any) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", inputs.skeleton)
    assert ran.code == 2
    assert "its input must be the main model's, image; found skeleton" in ran.err
