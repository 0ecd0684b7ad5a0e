"""What every graph network of the family promises."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from tests.trainer.published import compat, relative_error
from trainer.engine.segments import Passes, accumulate
from trainer.losses import LossSettings
from trainer.nets import layers
from trainer.nets.config import read_options
from trainer.nets.costgcn import CoStGcn
from trainer.nets.family import LAYERED, MULTI_STAGE, build, load_network
from trainer.nets.graph_product import graph_product
from trainer.nets.network import FrameNetwork, GraphNetwork
from trainer.nets.network_config import LayerConfig, MultiStageConfig, NetworkConfig
from trainer.nets.sensors import SensorConfig
from trainer.nets.shiftgcn import FrameShift, NodeShift
from trainer.nets.stgcn import SlidingWindow

GRAPH = Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), center=2)
LABELS = ("rest", "walk", "run")
T = TypeVar("T", bound=GraphNetwork)
LAYERS = (LayerConfig(6, 6, 3), LayerConfig(6, 8, 3, 2, "conv"), LayerConfig(8, 8, 5, residual="none"))


def layered(name: str, **options: Any) -> FrameNetwork:
    layers = LAYERS
    if name == "co-st-gcn":  # with look-ahead, as published
        layers = tuple(
            dataclasses.replace(c, residual_delay=c.taps // 2 * c.dilation if c.residual != "none" else 0)
            for c in LAYERS
        )
    model = LAYERED[name](NetworkConfig(2, GRAPH, LABELS, layers, **{"window": 9, **options}))
    assert isinstance(model, FrameNetwork)
    return perturbed(model)


def multi_stage(name: str) -> GraphNetwork:
    return perturbed(MULTI_STAGE[name](MultiStageConfig(2, GRAPH, LABELS, stages=2, layers=3, filters=8)))


def network(name: str) -> GraphNetwork:
    return layered(name) if name in LAYERED else multi_stage(name)


def perturbed(model: T) -> T:
    torch.manual_seed(0)
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dtype == torch.float32 and key not in ("A", "input_mean", "input_scale"):
            value.add_(torch.randn_like(value), alpha=0.2)
    return model.eval()


STEPPING = ("st-gcn", "co-st-gcn", "aa-gcn", "shift-gcn", "rt-st-gcn")
EVERY = (*LAYERED, *MULTI_STAGE)


@pytest.mark.parametrize("normalization", ["LayerNorm", "BatchNorm"])
@pytest.mark.parametrize("name", STEPPING)
def test_frame_by_frame_equals_the_whole_trial(name: str, normalization: str) -> None:
    """Shows that training offline and running online are one network, for all that see no future."""
    model: Any = layered(name, normalization=normalization)
    x = torch.randn(2, 2, 3 * model.receptive_field, 5)
    with torch.inference_mode():
        state, logits = model.initial_state(2), []
        for frame in x.unbind(2):
            out, state = model.step(frame, state)
            logits.append(out)
        assert relative_error(torch.stack(logits, 2), model(x)) < 1e-4


@pytest.mark.parametrize("name", STEPPING)
def test_sensor_streams_run_in_every_network(name: str) -> None:
    """Shows that raw sensor values become streams in whole trials and frame by frame alike."""
    torch.manual_seed(0)
    sensors = SensorConfig(gravity=100.0, turn=200.0, rest_frames=7, lift_windows=(3, 8))
    model: Any = perturbed(LAYERED[name](NetworkConfig(6, GRAPH, LABELS, LAYERS, sensors=sensors, window=9)))
    x = 100 * torch.randn(1, 6, 40, 5)
    with torch.inference_mode():
        state, logits = model.initial_state(1), []
        for frame in x.unbind(2):
            out, state = model.step(frame, state)
            logits.append(out)
        assert relative_error(torch.stack(logits, 2), model(x)) < 1e-4
    without = LAYERED[name](NetworkConfig(2, GRAPH, LABELS, LAYERS, window=9))
    assert model.receptive_field == without.receptive_field + 6 + 2 + 7


@pytest.mark.parametrize("name", EVERY)
def test_an_output_sees_its_receptive_field_and_no_more(name: str) -> None:
    """Shows that ``receptive_field`` and ``look_ahead`` are exact at both ends."""
    model = network(name).double()
    R, ahead = model.receptive_field, model.look_ahead
    t = R + 2
    for key, value in model.named_parameters():
        if key.endswith("tau"):  # Shift-GCN learns how far back it looks: let it look as far as it may, and not at all
            value.data = torch.where(torch.arange(len(value)) % 2 == 0, 99.0, 0.0).double()
    x = torch.randn(32, 2, t + ahead + 4, 5, dtype=torch.float64, requires_grad=True)  # many: a ReLU closes some paths
    out = model(x)
    out = out[-1] if out.ndim == 4 else out
    (grad,) = torch.autograd.grad(out[:, :, t].square().sum(), x)
    seen = torch.nonzero(grad.abs().sum((0, 1, 3)) > 0).flatten()
    first, last = int(seen[0]), int(seen[-1])
    assert (first, last) == (t + ahead - R + 1, t + ahead)


@pytest.mark.parametrize("name", STEPPING)
def test_state_size_counts_what_a_stream_keeps(name: str) -> None:
    def words(part: Any) -> int:
        if isinstance(part, torch.Tensor):
            return part.numel()
        return sum(words(item) for item in part) if isinstance(part, tuple) else 0

    model: Any = layered(name)
    assert model.state_size == words(model.initial_state())


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aggregation as the device does it: over all pairs of nodes, where a CPU's training adds up bones alone."""
    monkeypatch.setattr(
        layers, "graph_product", lambda x, aggregation, mixing, _: graph_product(x, aggregation, mixing)
    )


@pytest.mark.slow  # torch's counter imports its compiler first
@pytest.mark.usefixtures("dense")
@pytest.mark.parametrize("name", ["co-st-gcn", "rt-st-gcn", "shift-gcn", "ms-gcn", "ms-tcn"])
def test_macs_are_what_torch_counts(name: str) -> None:
    """Shows that ``macs`` is right for a frame of a long trial, by torch's count (which leaves out norms and sums)."""
    model = network(name).requires_grad_(False)
    frames = 64
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.randn(1, 2, frames, 5))
    assert counter.get_total_flops() / 2 / frames == pytest.approx(model.macs, rel=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("dense")
@pytest.mark.parametrize("name", ["st-gcn", "aa-gcn"])
def test_macs_of_a_sliding_window_are_those_of_a_whole_window(name: str) -> None:
    model = layered(name)
    assert isinstance(model, SlidingWindow)
    model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.randn(1, 2, 1, 5))
    assert counter.get_total_flops() / 2 == pytest.approx(model.macs, rel=0.05)


@pytest.mark.parametrize("name", ["st-gcn", "aa-gcn"])
def test_every_nth_window_is_one_of_all(name: str) -> None:
    """Shows that the windows left out by ``every`` change nothing for the others."""
    model: Any = layered(name)
    x = torch.randn(2, 2, 40, 5)
    with torch.inference_mode():
        torch.testing.assert_close(model(x, every=7), model(x)[:, :, 6::7], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_segments_train_every_network_as_the_whole_trial_does(name: str) -> None:
    """Shows that gradients accumulated over pieces are the whole trial's. BatchNorm has its running statistics."""
    model = network(name)
    rng = np.random.default_rng(0)
    trial = rng.standard_normal((2, 2, 60, 5)).astype(np.float32), rng.integers(0, 3, (2, 60))

    def gradient(segment: int) -> torch.Tensor:
        model.zero_grad()
        accumulate(model, *trial, LossSettings(), torch.ones(3), Passes(segment))
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(60)
    torch.testing.assert_close(gradient(23) / whole.norm(), whole / whole.norm(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_every_network_trains(name: str) -> None:
    """Shows that every parameter gets a gradient."""
    model = network(name).train()
    model(torch.randn(2, 2, 40, 5)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


def test_costgcn_speaks_of_the_middle_of_its_windows(tmp_path: Path) -> None:
    """Shows that the published configuration loads: learnt kernels of Γ taps, residuals that wait for the middle."""
    config = NetworkConfig.from_json(
        compat("config_costgcn_pku-mmd.json"), ["a"] * 52, graph=compat("skeleton_pku-mmd.json")
    )
    assert [layer.taps for layer in config.layers] == [69] * 9
    assert [layer.dilation for layer in config.layers] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [layer.residual_delay for layer in config.layers] == [34, 34, 34, 68, 34, 34, 68, 34, 34]
    model = CoStGcn(config)
    assert model.macs == pytest.approx(468e6, rel=0.02)  # as published
    assert model.state_size == 25 * sum(
        68 * c.out_channels * c.dilation + 34 * c.in_channels * c.dilation for c in config.layers
    )


def test_an_impulse_comes_out_delayed() -> None:
    """Shows what ``delay`` means: with centred windows, what happens at t moves the output at t + delay the most."""
    layers = (LayerConfig(4, 4, 5, residual_delay=2), LayerConfig(4, 4, 5, residual_delay=2))
    model = CoStGcn(NetworkConfig(2, GRAPH, LABELS, layers, input_norm=False)).eval()
    x = torch.zeros(1, 2, 40, 5)
    with torch.inference_mode():
        still = model(x)
        x[:, :, 20] = 50.0
        moved = (model(x) - still).abs().sum(1)[0]
    assert int(moved.argmax()) == 20 + model.delay == 24


def test_node_shifts_undo_each_other() -> None:
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(NodeShift(7, 5, -1)(NodeShift(7, 5, 1)(x)), x)


def test_a_frame_shift_interpolates_between_frames() -> None:
    shift = FrameShift(3, reach=4)
    shift.tau.data = torch.tensor([0.0, 1.25, 4.0])
    x = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 1, 3)
    assert shift(x)[0, 9, 0].tolist() == [9.0, 7.75, 5.0]
    assert shift(x)[0, 0, 0].tolist() == [0.0, 0.0, 0.0]


def written(folder: Path, network: str, **own: Any) -> Path:
    section = {"in_feat": 2, "layers": 2, "kernel": 3, "in_ch": [6, 6], "out_ch": [6, 8], **own}
    raw = {
        "processor": {
            "model": network,
            "graph": {"num_node": 5, "edge": GRAPH.edge, "center": 2},
            "actions": list(LABELS),
        },
        "arch": {"receptive_field": 9, network: section},
    }
    file = folder / "config.json"
    file.write_text(json.dumps(raw))
    return file


@pytest.mark.parametrize("name", EVERY)
def test_every_network_is_built_from_its_configuration(tmp_path: Path, name: str) -> None:
    """Shows that a configuration and a checkpoint give the same network back."""
    if name in MULTI_STAGE:
        file = written(tmp_path, name, stages=2, layers=[3, 3], kernel=[3, 3], filters=[8, 8])
    else:
        file = written(tmp_path, name)
    model = perturbed(build(read_options(file), LABELS))
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "net.pt")
    loaded = load_network(file, tmp_path / "net.pt")
    x = torch.randn(1, 2, 20, 5)
    with torch.inference_mode():
        assert torch.equal(loaded(x), model(x))


def test_a_published_msgcn_configuration_lists_its_refinement_stages(tmp_path: Path) -> None:
    """Shows that Realtime-ST-GCN's way to write MS-GCN is understood: a graph stage, then the stages of ``ms-tcn``."""
    file = written(tmp_path, "ms-tcn", stages=3, layers=[10] * 3, kernel=[3] * 3, filters=[64] * 3, dropout=[0] * 3)
    raw = json.loads(file.read_text())
    raw["processor"]["model"] = "ms-gcn"
    file.write_text(json.dumps(raw))
    assert build(read_options(file), LABELS).receptive_field == 1 + 2 * 4 * 1023


def test_an_unknown_network_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown network 'gru'.*rt-st-gcn, st-gcn"):
        build(read_options(written(tmp_path, "gru")), LABELS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"kernel": [3, 5]}, "kernels of 3 frames"), ({"filters": [8, 16]}, "the same in every stage")],
)
def test_a_multi_stage_configuration_is_checked(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    file = written(tmp_path, "ms-tcn", **{"stages": 2, "layers": [3, 3], "kernel": [3, 3], **change})
    with pytest.raises(InputError, match=complaint):
        build(read_options(file), LABELS)
