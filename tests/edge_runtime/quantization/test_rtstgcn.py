"""int8 RT-ST-GCN: close to fp32, smaller, the original untouched, the decision on record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edge_runtime import InputError, RtStgcnStream
from edge_runtime.cli.quantize import _read_trials, main
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.metadata import RtStgcnLayer, RtStgcnMetadata
from edge_runtime.models.zoo import open_model
from edge_runtime.quantization import auto, matmul, rtstgcn
from edge_runtime.quantization.auto import Choice
from edge_runtime.quantization.calibration import activation_ranges
from edge_runtime.quantization.measure import LogitParity, Paired, take_turns
from edge_runtime.quantization.rtstgcn import quantize_rtstgcn
from tests.edge_runtime.streams.small_models import SmallGcn
from tests.recordings import recording

LAYERS = (
    RtStgcnLayer(3, 64, taps=3, dilation=1, residual_delay=1),
    RtStgcnLayer(64, 64, taps=2, dilation=2),
)
PRODUCTS = ["mixed.1", "short.1"]  # 128 x 64 and 64 x 64; layer 0's are too small


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return load_model(SmallGcn.make(LAYERS).save(tmp_path_factory.mktemp("q") / "rtstgcn.onnx"))


@pytest.fixture(scope="module")
def trials() -> list[npt.NDArray[np.float32]]:
    return [np.random.default_rng(seed).standard_normal((60, 3, 5)).astype(np.float32) for seed in (1, 2)]


def test_weights_round_to_the_nearest_of_127_levels_a_column() -> None:
    weight = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32) * np.arange(7, dtype=np.float32)
    integers, scale = matmul.quantize_weight(weight)
    assert np.abs(integers).max() == matmul.WEIGHT_MAX
    assert np.all(np.abs(integers * scale - weight) <= scale / 2 + 1e-6)


def test_only_products_with_a_large_constant_on_the_right_are_taken(original: ModelFile) -> None:
    assert [product.output for product in matmul.find(original.proto)] == PRODUCTS


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_int8_is_close_and_says_what_it_is(
    original: ModelFile, trials: list[npt.NDArray[np.float32]], mode: str
) -> None:
    """Shows that every product is in int8, the labels stay, the file is smaller and carries its decision."""
    result = quantize_rtstgcn(original, mode, trials)  # type: ignore[arg-type]
    meta = result.file.metadata
    assert isinstance(meta, RtStgcnMetadata)
    assert meta.precision == f"int8-{mode}"
    assert 0 < result.parity.max_error < 0.05 * result.parity.largest
    assert result.parity.agreement >= 0.95
    assert result.parity.steps == 120
    assert len(result.file.data) < len(original.data)
    assert meta.quantization["original_sha256"] == original.sha256
    assert set(meta.quantization["products"]) == set(PRODUCTS)
    operators = [node.op_type for node in result.file.proto.graph.node]
    assert operators.count("MatMulInteger" if mode == "dynamic" else "QuantizeLinear") == 2
    logits = RtStgcnStream(result.file).steps(trials[0])
    assert np.abs(logits - RtStgcnStream(original).steps(trials[0])).max() <= result.parity.max_error


def test_the_state_stays_fp32(original: ModelFile) -> None:
    result = quantize_rtstgcn(original, "dynamic")
    graph = result.file.proto.graph
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in (*graph.input, *graph.output))
    assert RtStgcnStream(result.file).state_bytes == RtStgcnStream(original).state_bytes


@pytest.mark.parametrize("memory", ["sum", "window"])
def test_ranges_are_those_of_the_stream(
    trials: list[npt.NDArray[np.float32]], tmp_path: Path, memory: Literal["sum", "window"]
) -> None:
    """Shows that the plain stepping of calibration sees the same logits as the stream, all states included."""
    network = SmallGcn.make(tuple(replace(layer, memory=memory) for layer in LAYERS))
    file = load_model(network.save(tmp_path / "rtstgcn.onnx"))
    logits = np.concatenate([RtStgcnStream(file).steps(trial) for trial in trials])
    low, high = activation_ranges(file, {"logits"}, trials)["logits"]
    assert low == pytest.approx(logits.min(), abs=1e-4)
    assert high == pytest.approx(logits.max(), abs=1e-4)


def test_auto_returns_to_fp32_what_hurts(original: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the product with the largest error of its own goes first, and the search stops when all is well."""
    winners = [
        Choice("mixed.1", (128, 64), "int8-dynamic", "wins"),
        Choice("short.1", (64, 64), "int8-dynamic", "wins"),
    ]
    monkeypatch.setattr(auto, "_fastest_forms", lambda *args: winners)

    def parity(model: onnx.ModelProto) -> LogitParity:
        hurts = any(tensor.name == "short.1.q.int8" for tensor in model.graph.initializer)
        return LogitParity(100, 3.0 if hurts else 0.1, 5.0, 0.5 if hurts else 1.0)

    choices = auto.search(original.proto, 5, None, parity)
    assert [choice.form for choice in choices] == ["int8-dynamic", "fp32"]
    assert choices[1].why == "hurts: alone it moves a logit by 3"
    assert [choice.error for choice in choices] == [0.1, 3.0]


@pytest.mark.parametrize(
    ("ratio", "form"),
    [((1.0, 1.04, 1.04), "fp32"), ((1.0, 1.3, 1.32), "int8-dynamic"), ((1.0, 1.2, 1.4), "int8-static")],
)
def test_a_form_must_win_clearly(
    original: ModelFile, monkeypatch: pytest.MonkeyPatch, ratio: tuple[float, ...], form: str
) -> None:
    """Shows that each form has to beat the simpler one before it by 5 %."""
    monkeypatch.setattr(auto, "_time_alone", lambda *args: Paired((100.0, 90.0, 80.0), ratio))
    ranges = dict.fromkeys(PRODUCTS, (-1.0, 1.0))
    choices = auto.search(original.proto, 5, ranges, lambda model: LogitParity(1, 0.0, 1.0, 1.0))
    assert [choice.form for choice in choices] == [form, form]


def test_auto_keeps_fp32_when_the_whole_does_not_win(original: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_time_alone", lambda *args: Paired((100.0, 50.0), (1.0, 2.0)))
    monkeypatch.setattr(
        "edge_runtime.quantization.rtstgcn._paired_speed", lambda *args: Paired((100.0, 101.0), (1.0, 0.99))
    )
    result = quantize_rtstgcn(original, "auto")
    assert result.file.metadata.precision == "fp32"
    assert {choice.form for choice in result.choices} == {"fp32"}
    assert all(
        choice.why == "wins: fp32 100 us, int8-dynamic 50 us (2.00x); but the whole network gains too little: 0.99x"
        for choice in result.choices
    )
    assert result.parity.max_error == 0
    assert [n.op_type for n in result.file.proto.graph.node] == [n.op_type for n in original.proto.graph.node]


def test_turns_are_paired() -> None:
    """Shows that the ratio is of runs side by side and the untimed part is left out."""
    calls: list[str] = []
    paired = take_turns([lambda: calls.append("a"), lambda: calls.append("b")], 3, before=lambda: calls.append("-"))
    assert calls == ["-", "a", "-", "b", "-", "b", "-", "a", "-", "a", "-", "b"]
    assert paired.ratio[0] == 1.0
    assert len(paired.median_us) == len(paired.ratio) == 2


def test_the_command_measures_and_leaves_the_original(
    original: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "trial.npy"
    np.save(data, np.random.default_rng(0).standard_normal((3, 40, 5, 2)))
    out = tmp_path / "int8.onnx"
    assert main([str(original.path), "--mode", "auto", "--calibrate", str(data), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("size", "parity", "label agreement", "of 80 steps", "speed", "mixed.1 128 x 64"):
        assert word in text
    assert load_model(out).metadata.kind == "rtstgcn"
    assert original.path.read_bytes() == original.data


def test_the_command_refuses_in_one_line(
    original: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, out = tmp_path / "wrong.npy", tmp_path / "int8.onnx"
    np.save(wrong, np.zeros((2, 40, 5)))
    empty = tmp_path / "empty"
    empty.mkdir()
    quantized = tmp_path / "done.onnx"
    quantized.write_bytes(quantize_rtstgcn(original, "dynamic").file.data)
    cases = {
        "expected 3 channels x 5 nodes": [str(original.path), "--mode", "dynamic", "--calibrate", str(wrong)],
        "needs data to calibrate on": [str(original.path), "--mode", "static"],
        "is int8-dynamic already": [str(quantized), "--mode", "dynamic"],
        "holds no .npy file": [str(original.path), "--mode", "dynamic", "--calibrate", str(empty)],
    }
    for message, arguments in cases.items():
        assert main([*arguments, "--out", str(out)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert main([str(original.path), "--mode", "dynamic", "--out", str(original.path)]) == 2
    assert "is the original" in capsys.readouterr().err
    for option, message in (
        (["--out", str(tmp_path / "no" / "int8.onnx")], "there is no folder"),
        (["--out", str(out), "--threads", "0"], "whole number above 0"),
        (["--out", str(out), "--bogus"], "unrecognized"),
    ):
        assert main([str(original.path), "--mode", "dynamic", *option]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not out.exists()


def test_data_beyond_the_trained_kind(original: ModelFile) -> None:
    with pytest.raises(InputError, match="found a trial"):
        quantize_rtstgcn(original, "dynamic", [np.zeros((0, 3, 5), np.float32)])


def test_a_folder_is_used_from_end_to_end(original: ModelFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shows that where a folder holds more than is needed, trials from all over it are taken, each body one."""
    random = np.random.default_rng(0)
    for name, bodies in (("a", 2), ("b", 2), ("c", 1), ("d", 1)):
        np.save(tmp_path / f"{name}.npy", random.standard_normal((3, 40, 5, bodies)))
    trials = _read_trials(tmp_path)
    assert [trial.shape for trial in trials] == [(40, 3, 5)] * 6
    monkeypatch.setattr(rtstgcn, "MIN_STEPS", 100)
    meta = original.metadata
    assert isinstance(meta, RtStgcnMetadata)
    taken = rtstgcn._checked(trials, meta)
    assert [len(trial) for trial in taken] == [40, 40, 20]
    for mine, given in zip(taken, trials[::2], strict=True):
        np.testing.assert_array_equal(mine, given[: len(mine)].astype(np.float32))


def test_at_least_two_receptive_fields_are_seen(tmp_path: Path) -> None:
    """Shows that a network which looks back for long is measured on more than the filling of its FIFOs."""
    network = SmallGcn.make((RtStgcnLayer(3, 64, taps=750, dilation=2), RtStgcnLayer(64, 64, taps=2, dilation=1)))
    trial = np.zeros((4000, 3, 5), np.float32)
    assert network.metadata.receptive_field == 1500
    assert sum(map(len, rtstgcn._checked([trial], network.metadata))) == 3000


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_gaps_in_the_data_are_held_as_in_a_stream(
    original: ModelFile, trials: list[npt.NDArray[np.float32]], mode: Literal["dynamic", "static"]
) -> None:
    """Shows that a recording with missing joints calibrates, to what its held values would."""
    gaps, held = trials[0].copy(), trials[0].copy()
    gaps[7:9, 0, 3] = np.nan
    held[7:9, :, 3] = trials[0][6, :, 3]
    assert quantize_rtstgcn(original, mode, [gaps]).parity == quantize_rtstgcn(original, mode, [held]).parity


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_the_trained_network_keeps_its_labels(mode: Literal["dynamic", "static"]) -> None:
    """Shows on real recordings that int8 names the same activity in 99 of 100 frames, and that a graph of six sensors
    gets smaller."""
    with np.load(recording("hugadb/*.npz")) as data:
        bounds, wanted = data["offsets"], data["subject"] == 7
        X = data["X"].astype(np.float32)
    trials = [
        X[start:end].reshape(-1, 6, 6).swapaxes(1, 2)  # (L, channels, sensors)
        for start, end, mine in zip(bounds, bounds[1:], wanted, strict=False)
        if mine
    ]
    original = open_model("hugadb")
    result = quantize_rtstgcn(original, mode, trials[:2])
    assert result.parity.agreement >= 0.99
    assert len(result.file.data) < 0.5 * len(original.data)
