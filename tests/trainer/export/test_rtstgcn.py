from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from edge_runtime.errors import InputError
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import Graph, RtStgcnMetadata
from edge_runtime.streams import RtStgcnBatch
from tests.trainer.published import relative_error
from trainer.cli import main
from trainer.export import ParityError, export_rtstgcn, rtstgcn
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn
from trainer.nets.sensors import SensorConfig

GRAPH = Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), center=2)
LABELS = ("rest", "walk", "run")
VARIANTS: dict[str, tuple[tuple[LayerConfig, ...], dict[str, Any]]] = {
    "plain": ((LayerConfig(6, 6, 4), LayerConfig(6, 6, 3)), {}),
    "dilated": ((LayerConfig(6, 6, 3), LayerConfig(6, 8, 3, dilation=3, residual="conv")), {}),
    "BatchNorm": ((LayerConfig(6, 8, 3, 2, "conv"), LayerConfig(8, 8, 2)), {"normalization": "BatchNorm"}),
    "bare": ((LayerConfig(6, 4, 3, residual="none"),), {"edge_importance": False, "input_norm": False}),
    "delayed": ((LayerConfig(6, 6, 5, residual_delay=2), LayerConfig(6, 8, 3, 2, "conv", residual_delay=3)), {}),
    "delayed in a row": ((LayerConfig(6, 6, 5), *(LayerConfig(6, 6, 3, residual_delay=2),) * 2), {}),
    "delayed BatchNorm": ((LayerConfig(6, 8, 3, 2, "conv", 2),), {"normalization": "BatchNorm"}),
    "one tap": ((LayerConfig(6, 6, 1), LayerConfig(6, 6, 1, dilation=2)), {}),
    "averaged": ((LayerConfig(6, 6, 4), LayerConfig(6, 6, 3, residual_delay=1)), {"average": 5}),
}


def network(variant: str = "plain", seed: int = 0) -> RtStgcn:
    layers, options = VARIANTS[variant]
    torch.manual_seed(seed)
    model = RtStgcn(NetworkConfig(2, GRAPH, LABELS, layers, fps=50, background="rest", **options)).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or name == "input_scale":
            value.uniform_(0.5, 1.5)
        elif value.dtype == torch.float32 and name != "A":
            value.add_(torch.randn_like(value), alpha=0.2)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_device_computes_what_torch_computes(tmp_path: Path, variant: str) -> None:
    """Shows streaming parity for every variant and several people, on drifting input that the gate does not use."""
    model = network(variant)
    export_rtstgcn(model, tmp_path / "rt.onnx")
    x = torch.randn(3, 2, 90, 5).cumsum(2) / 5
    with torch.inference_mode():
        expected = model(x)
    found = RtStgcnBatch(tmp_path / "rt.onnx", 3).steps(x.permute(2, 0, 1, 3).numpy())
    assert relative_error(torch.from_numpy(found).permute(1, 2, 0), expected) < 1e-4


@pytest.mark.parametrize("average", [0, 6])
def test_body_worn_sensors_run_on_the_device(tmp_path: Path, average: int) -> None:
    """Shows that streams, lift windows and what is made of them directly are the same in torch, whole and frame by
    frame, and in the file."""
    sensors = SensorConfig(100.0, 200.0, 9, lift_gain=5.0, lift_windows=(4, 11))
    layers = LayerConfig(8, 8, 3), LayerConfig(8, 8, 2, dilation=2, residual_delay=1)
    torch.manual_seed(0)
    model = RtStgcn(NetworkConfig(6, GRAPH, LABELS, layers, sensors=sensors, lift_head=7, average=average)).eval()
    assert model.lift_head is not None
    torch.nn.init.normal_(model.lift_head[-1].weight)
    x = 100 * torch.tensor([0, 1.0, 0, 0, 0, 0])[:, None, None] + 4 * torch.randn(1, 6, 60, 5)
    with torch.inference_mode():
        expected, state, logits = model(x), model.initial_state(), []
        for frame in x.unbind(2):
            out, state = model.step(frame, state)
            logits.append(out)
        plain = RtStgcn(NetworkConfig(6, GRAPH, LABELS, layers, sensors=sensors, average=average)).eval()
        plain.load_state_dict(model.state_dict(), strict=False)
        assert relative_error(plain(x), expected) > 1e-2
    assert relative_error(torch.stack(logits, 2), expected) < 1e-4
    export_rtstgcn(model, tmp_path / "rt.onnx")
    found = RtStgcnBatch(tmp_path / "rt.onnx", 1).steps(x.permute(2, 0, 1, 3).numpy())
    assert relative_error(torch.from_numpy(found).permute(1, 2, 0), expected) < 1e-4


def test_the_file_says_what_the_network_is(tmp_path: Path) -> None:
    model = network("delayed")
    export_rtstgcn(model, tmp_path / "rt.onnx")
    meta = load_model(tmp_path / "rt.onnx").metadata
    assert isinstance(meta, RtStgcnMetadata)
    assert (meta.labels, meta.graph, meta.fps, meta.background) == (LABELS, GRAPH, 50, "rest")
    assert (meta.receptive_field, meta.delay) == (model.receptive_field, model.delay) == (9, 5)


def test_a_layer_is_two_matmuls_and_no_transpose(tmp_path: Path) -> None:
    """Shows the lean form that dynamic int8 speeds up: inside the layers nothing but products and elementwise work."""
    export_rtstgcn(network("plain"), tmp_path / "rt.onnx")
    nodes = [node for node in onnx.load(str(tmp_path / "rt.onnx")).graph.node if node.name.startswith("layer")]
    kinds = [node.op_type for node in nodes]
    assert kinds.count("MatMul") == 2 * 2
    assert {"Transpose", "Einsum", "Conv", "BatchNormalization"}.isdisjoint(kinds)


@pytest.mark.parametrize("variant", ["plain", "dilated", "delayed", "delayed BatchNorm", "averaged"])
def test_leaving_and_entering_frame_may_be_the_same_memory(tmp_path: Path, variant: str) -> None:
    """Shows what the order of writes guarantees: state in place gives exactly what separate memory gives."""
    export_rtstgcn(network(variant), tmp_path / "rt.onnx")
    session = ort.InferenceSession(str(tmp_path / "rt.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {
        value.name: rng.standard_normal([2 if isinstance(d, str) else d for d in value.shape]).astype(np.float32)
        for value in session.get_inputs()
    }
    names = [value.name for value in session.get_outputs()]
    expected = dict(zip(names, session.run(names, feed), strict=True))

    binding = session.io_binding()
    memory = {name: ort.OrtValue.ortvalue_from_numpy(value.copy()) for name, value in feed.items()}
    memory["logits"] = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(expected["logits"]))
    for name in feed:
        binding.bind_ortvalue_input(name, memory[name])
    for name in names:
        binding.bind_ortvalue_output(name, memory[name.removesuffix(".out").replace("entering", "leaving")])
    session.run_with_iobinding(binding)
    for name in names:
        found = memory[name.removesuffix(".out").replace("entering", "leaving")].numpy()
        np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the gate works: a graph built from other weights is refused, and nothing is left in the folder."""
    wrong = rtstgcn.build_graph(network(seed=1))
    monkeypatch.setattr(rtstgcn, "build_graph", lambda model: wrong)
    with pytest.raises(ParityError, match="nothing was written"):
        export_rtstgcn(network(seed=0), tmp_path / "rt.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_computes_no_number_is_refused(tmp_path: Path) -> None:
    """Shows that NaN does not slip through a comparison."""
    model = network()
    model.fcn_out.bias.data[0] = float("nan")
    with pytest.raises((ParityError, InputError)):
        export_rtstgcn(model, tmp_path / "rt.onnx")
    assert list(tmp_path.iterdir()) == []


def written(folder: Path) -> tuple[str, str]:
    """A configuration and a checkpoint that belong together."""
    section = {"in_feat": 2, "layers": 2, "kernel": 4, "in_ch": [6, 6], "out_ch": [6, 6], "taps": [4, 3]}
    graph = {"num_node": 5, "edge": GRAPH.edge, "center": 2}
    config = {"processor": {"graph": graph, "actions": list(LABELS)}, "arch": {"rt-st-gcn": section}}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"model_state_dict": network("plain").state_dict()}, folder / "rt.pt")
    return str(folder / "config.json"), str(folder / "rt.pt")


def test_the_command_exports_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, checkpoint = written(tmp_path)
    out = tmp_path / "rt.onnx"
    options = ["--fps", "25", "--source", "regions", "--background", "rest"]
    args = ["--config", config, "--checkpoint", checkpoint, "--out", str(out), *options]
    assert main(["rtstgcn", "export", *args]) == 0
    assert "receptive field 6 steps" in capsys.readouterr().out
    meta = load_model(out).metadata
    assert isinstance(meta, RtStgcnMetadata)
    assert (meta.fps, meta.source, meta.background) == (25, "regions", "rest")


@pytest.mark.parametrize("broken", ["config", "checkpoint", "labels", "background"])
def test_what_does_not_fit_is_one_line_and_exit_2(
    tmp_path: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = written(tmp_path)
    extra: list[str] = []
    match broken:
        case "config":
            Path(config).write_text("{")
        case "checkpoint":
            Path(checkpoint).write_bytes(Path(checkpoint).read_bytes()[:100])
        case "labels":
            extra = ["--labels", str(tmp_path / "none.txt")]
        case "background":
            extra = ["--background", "dance"]
    out = tmp_path / "rt.onnx"
    assert main(["rtstgcn", "export", "--config", config, "--checkpoint", checkpoint, "--out", str(out), *extra]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not out.exists()


def test_help_answers_without_torch() -> None:
    """Shows that the command line stays quick: naming the commands does not load torch."""
    code = (
        "import sys; from trainer.cli import build_parser; build_parser().format_help(); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
