"""Shows that the clip form is the published interface, computes what the step form computes, and runs on the device."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edge_runtime.cli import run as edge_run
from edge_runtime.errors import InputError
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.file import load_model
from edge_runtime.streams import ClipStream, ImfeStream
from tests.trainer.published import filled, shapes_of
from trainer.cli import main
from trainer.export import ParityError, export_clip, export_imfe, imfe_clip
from trainer.nets.imfe import CONFIGS, Imfe, ImfeConfig

SLOW = dataclasses.replace(CONFIGS["tiny"], fps=10.0)


def network(salt: str = "open", config: ImfeConfig = SLOW) -> Imfe:
    model = Imfe(config).eval()
    model.load_state_dict(filled(shapes_of(model), salt))
    return model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.save({"model": network().state_dict(), "config": dataclasses.asdict(SLOW)}, folder / "tiny.pt")
    out = folder / "clip.onnx"
    args = ["--checkpoint", str(folder / "tiny.pt"), "--out", str(out), "--form", "clip", "--licence", "mine"]
    assert main(["imfe", "export", *args]) == 0
    return out


def test_it_has_the_published_signature_and_opset(clip: Path) -> None:
    model = onnx.load(str(clip))
    (given,), (feature,) = model.graph.input, model.graph.output
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [1, 6, 3, 96, 128]
    assert [dim.dim_value for dim in feature.type.tensor_type.shape.dim] == [1, 256]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 16)]
    assert {prop.key: json.loads(prop.value) for prop in model.metadata_props}["licence"] == "mine"


def test_the_runtime_knows_it_by_its_signature_and_takes_its_rate(clip: Path) -> None:
    meta = load_model(clip).metadata
    assert isinstance(meta, ClipMetadata)
    assert (meta.clip_length, meta.feature_dim, meta.fps, meta.mean) == (6, 256, 10.0, SLOW.mean)


def test_it_computes_what_the_step_form_computes(clip: Path, tmp_path: Path) -> None:
    export_imfe(network(), tmp_path / "imfe.onnx")
    frames = np.random.default_rng(1).integers(0, 256, (9, 96, 128, 3), dtype=np.uint8)
    streams = ImfeStream(tmp_path / "imfe.onnx", hop=3), ClipStream(clip, hop=3)
    for frame in frames:
        step, whole = (stream.step(frame) for stream in streams)
        assert (step is None) == (whole is None)
        if step is not None and whole is not None:
            np.testing.assert_allclose(whole.features, step.features, rtol=1e-4, atol=1e-5)


def test_edge_run_takes_it(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    assert (
        edge_run.main(["--demo", "--model", str(clip), "--head", "none", "--max-frames", "60", "--out", str(out)]) == 0
    )
    events = [json.loads(line) for line in out.read_text().splitlines()]
    features = [event for event in events if event["event"] == "features"]
    assert features and len(features[0]["features"]) == 256


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = imfe_clip.build_clip_graph(network("other"))
    monkeypatch.setattr(imfe_clip, "build_clip_graph", lambda model: wrong)
    with pytest.raises(ParityError, match="nothing was written"):
        export_clip(network("open"), tmp_path / "clip.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "value"), [("fps", "0"), ("std", "[1, 2]"), ("mean", '"grey"')])
def test_a_property_without_sense_is_refused(clip: Path, tmp_path: Path, key: str, value: str) -> None:
    model = onnx.load(str(clip))
    next(prop for prop in model.metadata_props if prop.key == key).value = value
    onnx.save(model, str(tmp_path / "clip.onnx"))
    with pytest.raises(InputError, match=f"property '{key}'"):
        load_model(tmp_path / "clip.onnx")
