"""Shows that edge-quantize writes a model that runs, says what it did, and refuses what it cannot use in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.cli.quantize import main
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import RtStgcnLayer
from edge_runtime.streams import ImfeStream, RtStgcnStream
from tests.edge_runtime.streams.small_models import SmallGcn, SmallImfe


@pytest.fixture
def gcn(tmp_path: Path) -> Path:
    layers = (RtStgcnLayer(3, 48, 3, 1), RtStgcnLayer(48, 48, 2, 1))
    return SmallGcn.make(layers).save(tmp_path / "rtstgcn.onnx")


@pytest.fixture
def imfe(tmp_path: Path) -> Path:
    return SmallImfe.make().save(tmp_path / "imfe.onnx")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (96, 64))
    random = np.random.default_rng(0)
    for _ in range(36):
        writer.write(random.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    writer.release()
    return path


def test_a_graph_network_becomes_smaller_and_runs(
    gcn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = gcn.read_bytes()
    out = tmp_path / "small.onnx"
    assert main([str(gcn), "--mode", "dynamic", "--out", str(out)]) == 0
    assert load_model(out).metadata.precision == "int8-dynamic"
    assert RtStgcnStream(out).step(np.ones((3, 5), np.float32)).shape == (4,)
    assert gcn.read_bytes() == before
    assert {"wrote", "size", "parity", "speed"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line
    }


def test_an_imfe_is_calibrated_on_a_video(
    imfe: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "imfe.int8.onnx"
    assert main([str(imfe), "--mode", "static", "--calibrate", str(video), "--clips", "6", "--out", str(out)]) == 0
    assert load_model(out).metadata.precision == "int8-static"
    assert "cosine to fp32 mean" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.partial"))


def test_an_imfe_becomes_half_for_a_gpu(imfe: Path, tmp_path: Path) -> None:
    out = tmp_path / "imfe.fp16.onnx"
    assert main([str(imfe), "--mode", "fp16", "--out", str(out)]) == 0
    with ImfeStream(out) as stream:
        assert stream.metadata.precision == "fp16"


def test_what_cannot_be_used_is_one_line(
    imfe: Path, gcn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [
        ([str(imfe), "--mode", "auto", "--out", str(tmp_path / "x.onnx")], "--calibrate VIDEO|DIR|camera"),
        ([str(gcn), "--mode", "static", "--out", str(tmp_path / "x.onnx")], "needs data to calibrate on"),
        ([str(gcn), "--mode", "dynamic", "--out", str(gcn)], "is the original"),
        ([str(gcn), "--mode", "fp16", "--out", str(tmp_path / "x.onnx")], "expected an fp32 IMFE"),
    ]
    for argv, said in wrong:
        assert main(argv) == 2, argv
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1, errors
        assert said in errors[0]
    assert not (tmp_path / "x.onnx").exists()
