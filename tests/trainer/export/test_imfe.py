from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge_runtime.errors import InputError
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.streams import ImfeStream
from tests.trainer.published import filled, relative_error, shapes_of
from trainer.cli import main
from trainer.export import ParityError, export_imfe
from trainer.export import imfe as exporter
from trainer.nets.imfe import CONFIGS, Imfe, ImfeConfig

TINY = CONFIGS["tiny"]


def tiny(salt: str = "open", config: ImfeConfig = TINY) -> Imfe:
    model = Imfe(config).eval()
    model.load_state_dict(filled(shapes_of(model), salt))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "imfe.onnx"
    export_imfe(tiny(), path)
    return path


def test_the_file_says_what_the_network_is(exported: Path) -> None:
    meta = load_model(exported).metadata
    assert isinstance(meta, ImfeMetadata)
    assert (meta.height, meta.width, meta.clip_length, meta.feature_dim) == (96, 128, 6, 256)
    assert meta.hops == (6, 3, 2, 1) and meta.region_grid == (3, 4) and meta.name == "imfe-tiny"


def test_every_batch_norm_is_folded(exported: Path) -> None:
    kinds = {node.op_type for node in onnx.load(str(exported)).graph.node}
    assert "BatchNormalization" not in kinds
    assert kinds <= {"Cast", "Sub", "Transpose", "Conv", "Relu", "Add", "Reshape", "MatMul", "Concat", "ReduceMean"}


def test_the_device_computes_what_torch_computes(exported: Path) -> None:
    """Shows parity outside the exporter's own gate: pictures with structure, at a hop that the gate does not use."""
    rows, columns, times = np.mgrid[0:96, 0:128, 0:15]
    moving = (127 + 127 * np.sin(rows / 9 + columns / 7 + times / 3)).astype(np.uint8)
    frames = np.repeat(moving.transpose(2, 0, 1)[..., None], 3, 3)
    model = tiny()
    with torch.inference_mode():
        features, regions = model.along(model.normalise(torch.from_numpy(frames))[None], hop=3)
    with ImfeStream(exported, hop=3) as stream:
        found = [out for frame in frames if (out := stream.step(frame)) is not None]
    assert relative_error(torch.from_numpy(np.stack([f.features for f in found])), features[0]) < 1e-4
    assert relative_error(torch.from_numpy(np.stack([f.regions for f in found])), regions[0]) < 1e-4


@pytest.mark.parametrize("clip", [2, 4])
def test_clip_lengths_other_than_the_published_one_export(tmp_path: Path, clip: int) -> None:
    config = dataclasses.replace(TINY, clip_length=clip, region_grid=(2, 2))
    assert export_imfe(tiny(config=config), tmp_path / "imfe.onnx") < 1e-4


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the gate works: a graph built from other weights is refused, and nothing is left in the folder."""
    wrong = exporter.build_graph(tiny("other"))
    monkeypatch.setattr(exporter, "build_graph", lambda model: wrong)
    with pytest.raises(ParityError, match="nothing was written"):
        export_imfe(tiny("open"), tmp_path / "imfe.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_file_survives_a_failed_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "imfe.onnx"
    out.write_bytes(b"the good one")
    wrong = exporter.build_graph(tiny("other"))
    monkeypatch.setattr(exporter, "build_graph", lambda model: wrong)
    with pytest.raises(ParityError):
        export_imfe(tiny("open"), out)
    assert out.read_bytes() == b"the good one"


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        export_imfe(tiny(), tmp_path / "file" / "imfe.onnx")


def test_the_command_exports_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny()
    checkpoint = tmp_path / "tiny.pt"
    torch.save({"model": model.state_dict(), "config": dataclasses.asdict(TINY)}, checkpoint)
    out = tmp_path / "imfe.onnx"
    args = ["--checkpoint", str(checkpoint), "--out", str(out), "--trained-on", "noise", "--name", "mine"]
    assert main(["imfe", "export", *args]) == 0
    assert "of torch" in capsys.readouterr().out
    meta = load_model(out).metadata
    assert meta.name == "mine" and isinstance(meta, ImfeMetadata)
    assert meta.provenance.trained_on == "noise" and len(meta.provenance.checkpoint_sha256 or "") == 64


@pytest.mark.parametrize("options", [["--config", "base"], ["--config", "huge"], []])
def test_what_does_not_fit_is_one_line_and_exit_2(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "tiny.pt"
    torch.save({"model": tiny().state_dict()}, checkpoint)  # says nothing of its geometry: base is assumed
    assert main(["imfe", "export", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "o.onnx"), *options]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o.onnx").exists()
