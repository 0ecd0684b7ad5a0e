"""``edge-bench`` from its command line: what it writes, what it prints, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge_runtime.bench import measure
from edge_runtime.cli.bench import main
from edge_runtime.report.report import schema
from tests.edge_runtime.sources.clips import write_video
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe


@pytest.fixture(scope="module")
def imfe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallImfe.make().save(tmp_path_factory.mktemp("models") / "imfe.onnx")


@pytest.fixture(scope="module")
def skeleton_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallGcn.make(LAYERS).save(tmp_path_factory.mktemp("models") / "skeleton.onnx")


@pytest.fixture(scope="module", autouse=True)
def few_streams() -> Iterator[None]:
    """These models are so small that dozens of streams fit, and each must be opened to find out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "MAX_STREAMS", 2)
        yield


@pytest.fixture(scope="module")
def measured(imfe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short benchmark of two models."""
    out = tmp_path_factory.mktemp("bench")
    clip = write_video(out.with_suffix(".mp4"), 60)
    options = ["--head", "none", "--video", str(clip), "--rate", "30", "--duration", "1.5", "--out", str(out)]
    assert main(["--models", str(imfe), str(imfe), *options]) == 0
    return out


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def test_a_benchmark_leaves_a_report_a_page_and_the_raw_samples(measured: Path) -> None:
    assert sorted(path.name for path in measured.iterdir()) == ["report.html", "report.json", "results.jsonl"]
    report = read(measured)
    jsonschema.validate(report, schema())
    samples = [json.loads(line) for line in (measured / "results.jsonl").read_text().splitlines()]
    results = [one for one in samples if one["event"] == "features"]
    assert len(results) == report["run"]["results"] == report["stages"]["capture_to_result"]["n"] == 7


def test_no_frame_is_lost_count_of_and_warm_up_is_not_counted(measured: Path) -> None:
    """Shows that 1.5 s at 30 FPS are 45 frames, all processed, and each frame went through the encoder once."""
    report = read(measured)
    assert report["frames"] == {"captured": 45, "processed": 45, "dropped": {}}
    assert report["stages"]["imfe.encoder"]["n"] == 45
    assert report["warmup"]["frames"] >= 6
    assert report["run"]["policy"] == "block"


def test_every_measurement_is_there(measured: Path) -> None:
    report = read(measured)
    assert report["throughput"]["times_real_time"] > 0
    assert report["streams"]["tried"]
    assert [model["name"] for model in report["comparison"]["models"]] == ["imfe.onnx", "imfe.onnx"]
    assert report["run"]["providers"]["imfe.encoder"] == "cpu"


def test_a_short_run_is_not_valid_and_says_why(measured: Path) -> None:
    verdict = read(measured)["verdict"]
    assert not verdict["valid"]
    assert verdict["reasons"][0] == "7 results, at least 100 are needed for a 99th percentile; run longer"


@pytest.fixture(scope="module")
def before(skeleton_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short benchmark of a skeleton model."""
    out = tmp_path_factory.mktemp("before")
    assert main(["--model", str(skeleton_model), "--rate", "50", "--duration", "0.6", "--out", str(out)]) == 0
    return out


def test_a_skeleton_model_is_measured_on_random_joints(before: Path) -> None:
    report = read(before)
    assert report["run"]["source"] == "random joints, repeated from memory at 50 FPS"
    assert report["stages"]["rtstgcn"]["n"] == report["frames"]["processed"]


@pytest.mark.parametrize(("times_before", "code"), [(0.01, 1), (100.0, 0)])
def test_slower_than_an_earlier_report_fails(
    skeleton_model: Path,
    before: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    times_before: float,
    code: int,
) -> None:
    """Shows that against a report 100 times as fast the command fails, naming each figure, and else it does not."""
    old = read(before)
    for stage in old["stages"].values():
        for column in ("p50_ms", "p90_ms", "p99_ms"):
            stage[column] *= times_before
    old["throughput"]["frames_per_s"] /= times_before
    (tmp_path / "old.json").write_text(json.dumps(old))
    options = ["--model", str(skeleton_model), "--rate", "50", "--duration", "0.6", "--out", str(tmp_path / "new")]
    assert main([*options, "--compare", str(tmp_path / "old.json"), "--fail-above", "50%"]) == code
    printed = capsys.readouterr().out
    assert ("REGRESSED           rtstgcn p50_ms" in printed) is (code == 1)
    assert "NOT VALID" in printed
    assert f"report: {tmp_path / 'new' / 'report.html'}" in printed
    jsonschema.validate(read(tmp_path / "new"), schema())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "x"], "one of the arguments --model --models is required; see edge-bench --help"),
        (["--model", "none.onnx", "--out", "x"], "model 'none.onnx': no such file"),
        (["--model", "IMFE", "--out", "x", "--fail-above", "much"], "expected a share such as 5% or 0.05"),
        (["--model", "IMFE", "--out", "x", "--duration", "0"], "expected a number above 0, found '0'"),
        (["--model", "IMFE", "--out", "x"], "lies beside it to name actions"),
        (["--model", "IMFE", "--head", "none", "--out", "x", "--compare", "none.json"], "none.json: No such file"),
        (["--model", "IMFE", "--head", "none", "--out", "x", "--video", "none.mp4"], "none.mp4: no such file"),
        (["--model", "IMFE", "--head", "none", "--out", "x", "--skeleton", "joints.npy"], "takes pictures"),
        (["--model", "IMFE", "--head", "none", "--out", "joints.npy"], "--out joints.npy: File exists"),
        (["--model", "IMFE", "--head", "none", "--out", "x", "--deadline-ms", "-3"], "must be a positive number"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    imfe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("joints.npy", np.zeros((3, 10, 5), np.float32))
    assert main([str(imfe) if option == "IMFE" else option for option in options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert says in lines[-1]
    assert lines[-1].startswith("error: ")
    assert not Path("x", "report.json").exists()
