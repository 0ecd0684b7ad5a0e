from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from tests.trainer.published import State, compat, filled, relative_error, rt_state, shapes_of, with_graph
from trainer.nets.config import read_options
from trainer.nets.family import load_network
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

GRAPH = Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), center=2)
LABELS = ("rest", "walk", "run")


def network(*layers: LayerConfig, **options: Any) -> RtStgcn:
    torch.manual_seed(0)
    model = RtStgcn(NetworkConfig(2, GRAPH, LABELS, layers, **options)).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dtype == torch.float32 and name != "A":
            value.add_(torch.randn_like(value), alpha=0.2)
    return model


def published_config(folder: Path, kernel: int) -> Path:
    raw = json.loads(compat("config_rtstgcn_pku-mmd.json").read_text())
    raw["arch"]["kernel"] = raw["arch"]["rt-st-gcn"]["kernel"] = kernel
    raw["processor"]["graph"] = str(compat("skeleton_pku-mmd.json"))
    file = folder / f"config_{kernel}.json"
    file.write_text(json.dumps(raw))
    return file


def reference(state: State, x: Tensor, taps: list[int], dilation: list[int]) -> Tensor:
    """The published network written from its description, channels first: (N, C, L, V) -> (N, classes, L)."""

    def conv(name: str, x: Tensor) -> Tensor:
        bias = state.get(f"{name}.bias")
        out = torch.einsum("nclv,oc->nolv", x, state[f"{name}.weight"][:, :, 0, 0])
        return out if bias is None else out + bias[:, None, None]

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = x.mean((1, 3), keepdim=True), x.var((1, 3), unbiased=True, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = conv("fcn_in", norm("norm_in", x))
    for i, (k, d) in enumerate(zip(taps, dilation, strict=True)):
        at = f"st_gcn.{i}"
        parts = conv(f"{at}.conv", x).chunk(len(state["A"]), 1)
        h = sum(
            torch.einsum("nclv,vw->nclw", part, A * M)
            for part, A, M in zip(parts, state["A"], state[f"{at}.edge_importance"], strict=True)
        )
        assert isinstance(h, Tensor)
        s = torch.zeros_like(h)
        for tap in range(k):
            s[:, :, tap * d :] += h[:, :, : h.shape[2] - tap * d]
        y = torch.relu(norm(f"{at}.bn_relu.0", s))
        has_conv = f"{at}.residual.0.weight" in state
        x = torch.relu(y + (norm(f"{at}.residual.1", conv(f"{at}.residual.0", x)) if has_conv else x))
    return conv("fcn_out", x.mean(3, keepdim=True))[..., 0]


@pytest.mark.parametrize("kernel", [9, 69])
def test_the_published_network_is_reproduced(tmp_path: Path, kernel: int) -> None:
    """Shows that published configuration and state dict load unchanged and give the published logits."""
    torch.save({"model_state_dict": rt_state("open")}, tmp_path / "rt.pt")
    model = load_network(published_config(tmp_path, kernel), tmp_path / "rt.pt")
    rng = np.random.default_rng(zlib.crc32(f"open{kernel}".encode()))
    x = torch.from_numpy(rng.standard_normal((1, 3, 300, 25), np.float32))
    with torch.inference_mode():
        logits = model(x)
    assert relative_error(logits, torch.from_numpy(np.load(compat("rt_open.npz"))[str(kernel)])) < 1e-4
    assert model.receptive_field == {9: 69, 69: 609}[kernel]
    assert model.macs == pytest.approx(19.8e6, rel=0.03)


@pytest.mark.parametrize("salt", ["other", "third"])
def test_any_weights_give_what_the_description_says(salt: str) -> None:
    """Shows that nothing is special about the fixture: other weights and sizes agree with an independent network."""
    model = network(LayerConfig(8, 8, 5), LayerConfig(8, 12, 3, dilation=2, residual="conv"))
    state = with_graph(filled(shapes_of(model), salt), salt, model.A)
    state["input_mean"], state["input_scale"] = model.input_mean.zero_(), model.input_scale.fill_(1)
    model.load_state_dict(state)
    x = torch.randn(2, 2, 40, 5)
    with torch.inference_mode():
        assert relative_error(model(x), reference(state, x, [5, 3], [1, 2])) < 1e-4


VARIANTS = {
    "plain": network(LayerConfig(6, 6, 4), LayerConfig(6, 6, 4)),
    "dilated, widening": network(LayerConfig(6, 6, 3), LayerConfig(6, 8, 3, dilation=3, residual="conv")),
    "BatchNorm": network(LayerConfig(6, 6, 3), LayerConfig(6, 8, 2, 2, residual="conv"), normalization="BatchNorm"),
    "no residual": network(LayerConfig(6, 4, 3, residual="none")),
    "no importance": network(LayerConfig(6, 6, 3), edge_importance=False, strategy="distance"),
    "no input norm": network(LayerConfig(6, 6, 3), input_norm=False, strategy="uniform"),
    "delayed": network(LayerConfig(6, 6, 5, residual_delay=2), LayerConfig(6, 8, 3, 2, "conv", residual_delay=3)),
    "one tap": network(LayerConfig(6, 6, 1)),
    "averaged": network(LayerConfig(6, 6, 3, residual_delay=1), average=6),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_frame_by_frame_equals_the_whole_trial(variant: str) -> None:
    """Shows that training offline and running online are one network, in every variant."""
    model = VARIANTS[variant]
    x = torch.randn(2, 2, 5 * model.receptive_field + 3, 5)
    with torch.inference_mode():
        state, logits = model.initial_state(2), []
        for frame in x.unbind(2):
            out, state = model.step(frame, state)
            logits.append(out)
        assert relative_error(torch.stack(logits, 2), model(x)) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_output_sees_its_receptive_field_and_no_more(variant: str) -> None:
    """Shows that ``receptive_field`` is exact: the frame at its edge counts, the one beyond it does not."""
    model = VARIANTS[variant].double()
    R = model.receptive_field
    x = torch.randn(1, 2, R + 4, 5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(model(x)[0, :, -1].square().sum(), x)
    model.float()
    seen = grad.abs().sum((0, 1, 3)) > 0
    assert not seen[:-R].any() and seen[-R]


def test_a_step_leaves_the_state_it_was_given_untouched() -> None:
    """Shows that ``step`` is pure: the same state and frame give the same result again."""
    model = VARIANTS["delayed"]
    state = model.initial_state()
    for frame in torch.randn(7, 1, 2, 5):
        _, state = model.step(frame, state)
    frame = torch.randn(1, 2, 5)
    torch.testing.assert_close(model.step(frame, state)[0], model.step(frame, state)[0], rtol=0, atol=0)


def test_the_delay_is_the_sum_of_the_layers_and_half_the_average() -> None:
    assert VARIANTS["delayed"].delay == 5
    assert VARIANTS["averaged"].delay == 1 + 3


def test_an_average_takes_a_flicker_away() -> None:
    """Shows what averaging does: the results around a frame, that one counted once more, in every second frame too."""
    model = VARIANTS["averaged"]
    plain = RtStgcn(replace(model.config, average=0))
    plain.load_state_dict(model.state_dict())
    x = torch.randn(1, 2, 40, 5)
    with torch.inference_mode():
        logits, averaged = plain.eval()(x), model(x)
        expected = (logits[..., 20:26].sum(-1) + logits[..., 22]) / 7
        torch.testing.assert_close(averaged[..., 25], expected)
        fewer = plain(x, every=2)
        torch.testing.assert_close(model(x, every=2)[..., 9], (fewer[..., 7:10].sum(-1) + fewer[..., 8]) / 4)


def test_state_size_counts_what_a_stream_keeps() -> None:
    for model in VARIANTS.values():
        layers = model.initial_state().layers
        assert model.state_size == sum(t.numel() for layer in layers for part in layer for t in part)


def test_raw_input_is_normalised_inside() -> None:
    """Shows that the scaled network takes raw numbers: feeding raw equals feeding normalised to an unscaled one."""
    model = VARIANTS["no input norm"]
    mean, scale = torch.randn(2, 5), torch.rand(2, 5) + 0.5
    kept = model.input_mean.clone(), model.input_scale.clone()
    x = torch.randn(1, 2, 10, 5)
    with torch.inference_mode():
        model.set_input_normalisation(torch.zeros(2, 1), torch.ones(2, 1))
        expected = model((x - mean[:, None]) * scale[:, None])
        model.set_input_normalisation(mean, scale)
        torch.testing.assert_close(model(x), expected)
        model.set_input_normalisation(*kept)


# --- configurations ---------------------------------------------------------------------------------------------


def test_both_published_dialects_are_read(tmp_path: Path) -> None:
    """Shows that Γ and stride become taps and dilation, in the newer and in the older dialect."""
    new = NetworkConfig.from_json(published_config(tmp_path, 9), labels=["a"] * 52)
    old = NetworkConfig.from_json(compat("config_rtstgcn_imu-fogit_old-dialect.json"), ["a"] * 8)
    for config in (new, old):
        assert [layer.taps for layer in config.layers] == [9, 9, 9, 4, 9, 9, 4, 9, 9]
        assert [layer.dilation for layer in config.layers] == [1, 1, 1, 2, 1, 1, 2, 1, 1]
        assert [layer.residual for layer in config.layers].count("conv") == 2
    assert (new.in_channels, new.graph.num_node) == (3, 25)
    assert (old.in_channels, old.graph.num_node) == (6, 7)


def test_a_lift_head_without_lift_windows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lift_windows"):
        NetworkConfig.from_json(written(tmp_path, lift_head=8))


def test_unknown_keys_are_kept_and_can_be_shown(tmp_path: Path) -> None:
    file = written(tmp_path, colour="blue")
    config = NetworkConfig.from_json(file)
    assert config.raw["arch"]["rt-st-gcn"]["colour"] == "blue"
    options = read_options(file)
    NetworkConfig.from_options(options, LABELS)
    assert "colour" in options.unused and "kernel" not in options.unused


def written(folder: Path, **own: Any) -> Path:
    """A small configuration of the newer dialect, with changes to its network's section."""
    section = {"in_feat": 2, "layers": 2, "kernel": 5, "in_ch": [6, 6], "out_ch": [6, 8], "stride": [1, 2], **own}
    raw = {
        "processor": {"graph": {"num_node": 5, "edge": GRAPH.edge, "center": 2}, "actions": list(LABELS)},
        "arch": {"strategy": "spatial", "rt-st-gcn": section},
    }
    file = folder / "config.json"
    file.write_text(json.dumps(raw))
    return file


@pytest.mark.parametrize(("latency", "delays"), [(False, [0, 0]), (True, [2, 2]), (1, [1, 1]), ([3, 2], [3, 2])])
def test_latency_is_a_delay_of_the_residual(tmp_path: Path, latency: Any, delays: list[int]) -> None:
    """Shows the FIFO latency variants: causal, centred on the window, so many frames, or one number a layer."""
    config = NetworkConfig.from_json(written(tmp_path, latency=latency))
    assert [layer.residual_delay for layer in config.layers] == delays


def test_our_own_configurations_name_taps_and_dilation(tmp_path: Path) -> None:
    """Shows that dilation alone, without the published stride, does not force a convolution onto the residual."""
    config = NetworkConfig.from_json(written(tmp_path, taps=[3, 3], dilation=[2, 4], out_ch=[6, 6]))
    assert [(layer.taps, layer.dilation, layer.residual) for layer in config.layers] == [
        (3, 2, "identity"),
        (3, 4, "identity"),
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"in_ch": [6]}, "'in_ch' has 1 entries for 2 layers"),
        ({"in_ch": [6, 7]}, "layer 1 takes 7 channels, layer 0 gives 6"),
        ({"kernel": 0}, "'kernel' should be a whole number >= 1"),
        ({"kernel": 1}, "'kernel' is smaller than 'stride'"),
        ({"layers": "two"}, "'layers' should be a whole number"),
        ({"normalization": "GroupNorm"}, "LayerNorm or BatchNorm"),
        ({"strategy": "random"}, "uniform, distance, spatial"),
        ({"latency": 99}, "beyond its window"),
        ({"stages": 3}, "has one stage"),
        ({"background": "dance"}, "not among the labels"),
        ({"dropout": -1}, "'dropout' should be a number >= 0"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        NetworkConfig.from_json(written(tmp_path, **change))


def test_action_lists_may_lead_with_an_index(tmp_path: Path) -> None:
    file = written(tmp_path)
    raw = json.loads(file.read_text())
    raw["processor"]["actions"] = "actions.txt"  # beside the configuration
    file.write_text(json.dumps(raw))
    (tmp_path / "actions.txt").write_text("1 going up\n0 rest\n2 run\n")
    assert NetworkConfig.from_json(file).labels == ("rest", "going up", "run")
    (tmp_path / "actions.txt").write_text("rest\ngoing up\nrun\n")
    assert NetworkConfig.from_json(file).labels == ("rest", "going up", "run")


def test_without_an_action_list_classes_are_numbered(tmp_path: Path) -> None:
    torch.save({"model_state_dict": rt_state("open")}, tmp_path / "rt.pt")
    model = load_network(published_config(tmp_path, 9), tmp_path / "rt.pt")
    assert len(model.config.labels) == 52 and model.config.labels[51] == "class 51"
