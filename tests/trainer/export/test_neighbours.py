"""The networks that RT-ST-GCN is measured against, exported for the same runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_runtime.errors import InputError
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import Graph, RtStgcnMetadata
from edge_runtime.streams import RtStgcnBatch, RtStgcnStream
from tests.trainer.published import relative_error
from trainer.export import ParityError, export_rtstgcn, stgcn
from trainer.nets.aagcn import Aagcn
from trainer.nets.costgcn import CoStGcn
from trainer.nets.mstcn import MsTcn
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, MultiStageConfig, NetworkConfig
from trainer.nets.sensors import SensorConfig
from trainer.nets.shiftgcn import ShiftGcn
from trainer.nets.stgcn import StGcn

GRAPH = Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), center=2)
LABELS = ("rest", "walk", "run")
CONTINUAL = (
    LayerConfig(6, 6, 4, residual_delay=2),
    LayerConfig(6, 8, 3, 2, "conv", 2),
    LayerConfig(8, 8, 1, 1, "none"),
)
STRIDED = (LayerConfig(6, 6, 3), LayerConfig(6, 8, 5, 2, "conv"), LayerConfig(8, 8, 4, 1, "none"))
SENSORS = SensorConfig(100.0, 200.0, 5, lift_windows=(3, 8))
NETWORKS: dict[str, tuple[type[FrameNetwork], tuple[LayerConfig, ...], dict[str, Any]]] = {
    "CoST-GCN": (CoStGcn, CONTINUAL, {}),
    "CoST-GCN, BatchNorm": (CoStGcn, CONTINUAL, {"normalization": "BatchNorm", "edge_importance": False}),
    "CoST-GCN, sensors": (CoStGcn, CONTINUAL, {"sensors": SENSORS}),
    "ST-GCN": (StGcn, STRIDED, {"window": 9}),
    "ST-GCN, BatchNorm": (StGcn, STRIDED, {"window": 8, "normalization": "BatchNorm", "edge_importance": False}),
    "ST-GCN, one frame": (StGcn, STRIDED, {"window": 1}),
    "ST-GCN, sensors": (StGcn, STRIDED, {"window": 4, "sensors": SENSORS}),
    "AAGCN": (Aagcn, STRIDED, {"window": 9}),
    "AAGCN, BatchNorm": (Aagcn, STRIDED, {"window": 8, "normalization": "BatchNorm"}),
    "AAGCN, one frame": (Aagcn, STRIDED, {"window": 1}),
    "AAGCN, sensors": (Aagcn, STRIDED, {"window": 4, "sensors": SENSORS}),
    "Shift-GCN": (ShiftGcn, STRIDED, {}),
    "Shift-GCN, BatchNorm": (ShiftGcn, STRIDED, {"normalization": "BatchNorm"}),
    "Shift-GCN, one frame": (ShiftGcn, (LayerConfig(6, 8, 1, residual="conv"), LayerConfig(8, 8, 1)), {}),
    "Shift-GCN, sensors": (ShiftGcn, STRIDED, {"sensors": SENSORS}),
}


def network(name: str, seed: int = 0) -> FrameNetwork:
    kind, layers, options = NETWORKS[name]
    torch.manual_seed(seed)
    model = kind(NetworkConfig(6, GRAPH, LABELS, layers, **options)).eval()
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dtype == torch.float32 and key not in ("A", "input_scale"):
            value.add_(torch.randn_like(value), alpha=0.2)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_device_computes_what_torch_computes(tmp_path: Path, name: str) -> None:
    """Shows streaming parity for several people, on drifting input that the exporter's own gate does not use."""
    model = network(name)
    export_rtstgcn(model, tmp_path / "net.onnx")
    x = torch.randn(3, 6, 60, 5).cumsum(2) / 5
    with torch.inference_mode():
        expected = model(x)
    found = RtStgcnBatch(tmp_path / "net.onnx", 3).steps(x.permute(2, 0, 1, 3).numpy())
    assert relative_error(torch.from_numpy(found).permute(1, 2, 0), expected) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_people_come_and_go_without_touching_each_other(tmp_path: Path, name: str) -> None:
    """Shows that a row of a batch is a stream of its own, and that one begun anew is bit for bit a new one."""
    export_rtstgcn(network(name), tmp_path / "net.onnx")
    x = torch.randn(40, 3, 6, 5, generator=torch.Generator().manual_seed(1)).numpy()  # (L, N, C, V)
    batch = RtStgcnBatch(tmp_path / "net.onnx", 3)
    batch.steps(x[:15])
    batch.reset(1)
    later = batch.steps(x[15:])
    for person, begun in enumerate((0, 15, 0)):
        stream = RtStgcnStream(tmp_path / "net.onnx")
        alone = stream.steps(x[begun:, person])
        assert np.abs(later[:, person] - alone[15 - begun :]).max() < 1e-5 * np.abs(alone).max()
        stream.reset()
        assert not stream.warm
        np.testing.assert_array_equal(stream.steps(x[begun:, person]), alone)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_says_what_the_network_is(tmp_path: Path, name: str) -> None:
    model = network(name)
    export_rtstgcn(model, tmp_path / "net.onnx", name="neighbour")
    meta = load_model(tmp_path / "net.onnx").metadata
    assert isinstance(meta, RtStgcnMetadata)
    assert (meta.receptive_field, meta.delay, meta.name) == (model.receptive_field, model.delay, "neighbour")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_product_stays_open_to_int8(tmp_path: Path, name: str) -> None:
    """Shows that products are MatMuls, which edge-quantize finds, whatever the simplifier would make of them."""
    export_rtstgcn(network(name), tmp_path / "net.onnx")
    assert "Gemm" not in {node.op_type for node in load_model(tmp_path / "net.onnx").proto.graph.node}


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = stgcn.build_graph(network("ST-GCN", seed=1))  # type: ignore[arg-type]
    monkeypatch.setattr(stgcn, "build_graph", lambda model: wrong)
    with pytest.raises(ParityError, match="nothing was written"):
        export_rtstgcn(network("ST-GCN"), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_a_step_graph_says_so(tmp_path: Path) -> None:
    model = MsTcn(MultiStageConfig(6, GRAPH, LABELS, stages=2, layers=3, filters=8))
    with pytest.raises(InputError, match="MsTcn has no step graph: it labels recordings, looking 14 frames ahead"):
        export_rtstgcn(model, tmp_path / "net.onnx")
