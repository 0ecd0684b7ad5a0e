"""Shows that an IMFE in int8 is the same network within the bound, streams like it, and says what was decided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.metadata import ImfeMetadata, RtStgcnLayer
from edge_runtime.quantization import imfe
from edge_runtime.quantization.imfe import Candidate, Outcome, quantize_imfe
from edge_runtime.streams.imfe import ImfeStream
from tests.edge_runtime.streams.small_models import SmallGcn, SmallImfe, SmallLstr

Clip = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return load_model(SmallImfe.make().save(tmp_path_factory.mktemp("models") / "imfe.onnx"))


@pytest.fixture(scope="module")
def static(original: ModelFile, clips: list[Clip]) -> Outcome:
    return quantize_imfe(original, clips, "static", say=silent)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """A bright square that moves over noise: what calibration needs is variety, not meaning."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(12):
        clip = random.integers(0, 120, (6, 32, 48, 3), dtype=np.uint8)
        x, y, dx = random.integers(0, 30), random.integers(0, 20), random.integers(-3, 4)
        for i, frame in enumerate(clip):
            frame[y : y + 12, max(0, x + i * dx) : max(0, x + i * dx) + 14] = 230
        found.append(clip)
    return found


def silent(_: str) -> None:
    """Findings are not what these tests look at."""


def features(file: ModelFile, clip: Clip) -> npt.NDArray[np.float32]:
    with ImfeStream(file) as stream:
        outputs = [stream.step(frame) for frame in clip]
    assert outputs[-1] is not None
    return outputs[-1].features


def test_static_streams_the_same_features_within_the_bound(
    original: ModelFile, clips: list[Clip], static: Outcome
) -> None:
    assert static.parity.cosine_mean >= imfe.PARITY_BOUND
    operators = {node.op_type for node in static.file.proto.graph.node}
    assert "QuantizeLinear" in operators
    expected, found = features(original, clips[1]), features(static.file, clips[1])
    assert not np.array_equal(expected, found)
    assert float(expected @ found / np.linalg.norm(expected) / np.linalg.norm(found)) >= imfe.PARITY_BOUND


def test_an_rgb_stream_is_a_stage_like_the_others(tmp_path: Path, clips: list[Clip]) -> None:
    """Shows that it is calibrated on central frames, put back, and fed to the head; and that an LSTR's labels count."""
    small = SmallImfe.make(appearance=True)
    file = load_model(small.save(tmp_path / "imfe.onnx"))
    head = load_model(SmallLstr.make(in_channels=9).save(tmp_path / "lstr.onnx"))
    outcome = quantize_imfe(file, clips, "static", head=head, say=silent)
    assert outcome.chosen["appearance"].how.startswith("static")
    assert outcome.parity.cosine_mean >= imfe.PARITY_BOUND and outcome.parity.agreement is not None
    expected, found = features(file, clips[1]), features(outcome.file, clips[1])
    assert not np.array_equal(expected[:7], found[:7])
    np.testing.assert_array_equal(found[7:], expected[7:])  # its one convolution is its first, which stays fp32


def test_the_file_says_what_was_decided_and_from_what(original: ModelFile, clips: list[Clip], static: Outcome) -> None:
    metadata = static.file.metadata
    assert isinstance(metadata, ImfeMetadata)
    assert metadata.precision == "int8-static"
    assert metadata.quantization["original_sha256"] == original.sha256
    assert set(metadata.quantization["stages"]) == {"encoder", "motion", "head"}
    assert metadata.quantization["parity"]["clips"] == len(clips) // 2


def test_the_first_and_last_convolution_stay_fp32(static: Outcome) -> None:
    assert static.chosen["encoder"].kept_float == ("fmap.coded",)


def test_auto_goes_back_to_fp32_where_int8_would_lose(
    original: ModelFile, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imfe, "STAGE_BOUND", 1.1)  # no candidate can be that close
    outcome = quantize_imfe(original, clips, "auto", say=silent)
    assert {candidate.how for candidate in outcome.chosen.values()} == {"fp32"}
    assert outcome.file.metadata.precision == "fp32"
    assert outcome.parity.cosine_mean == pytest.approx(1.0)


def test_auto_gives_stages_back_until_the_whole_meets_the_bound(
    original: ModelFile, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Candidate, "wins", property(lambda self: True))
    monkeypatch.setattr(imfe, "_time_against", lambda _model, candidate, _feed: replace(candidate, speedup=2.0))
    monkeypatch.setattr(imfe, "PARITY_BOUND", 1.0 + 1e-9)
    said: list[str] = []
    outcome = quantize_imfe(original, clips, "auto", say=said.append)
    assert {candidate.how for candidate in outcome.chosen.values()} == {"fp32"}
    assert any("back to fp32" in line for line in said)


def test_a_form_that_this_onnxruntime_refuses_is_passed_over_and_said(
    original: ModelFile, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_operator(model: onnx.ModelProto, *_: object, **__: object) -> onnx.ModelProto:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.node[0].op_type = "OfTheNextRelease"
        return changed

    monkeypatch.setattr(imfe, "insert_qdq", unknown_operator)
    said: list[str] = []
    for mode in get_args(imfe.Mode):
        outcome = quantize_imfe(original, clips, mode, say=said.append)
        assert outcome.chosen["encoder"].how == "fp32"
    assert any(line.startswith("encoder: static") and "cannot run it here" in line for line in said)


def test_labels_are_compared_through_the_head(original: ModelFile, clips: list[Clip], tmp_path: Path) -> None:
    head = SmallGcn.make((RtStgcnLayer(7, 8, 2, 1),), nodes=6, in_channels=7)
    outcome = quantize_imfe(original, clips, "static", head=load_model(head.save(tmp_path / "head.onnx")), say=silent)
    assert outcome.parity.agreement is not None
    assert outcome.parity.agreement >= 0.8


def test_a_quantized_model_is_not_quantized_again(clips: list[Clip], static: Outcome) -> None:
    with pytest.raises(InputError, match="quantize the original"):
        quantize_imfe(static.file, clips, "static", say=silent)


def test_the_original_is_untouched(original: ModelFile, clips: list[Clip]) -> None:
    before = original.proto.SerializeToString()
    quantize_imfe(original, clips, "auto", say=silent)
    assert original.proto.SerializeToString() == before
