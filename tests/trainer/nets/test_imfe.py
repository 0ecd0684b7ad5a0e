from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_runtime.errors import InputError
from tests.trainer.published import State, compat, filled, imfe_state, relative_error, shapes_of
from trainer.nets.imfe import CONFIGS, Imfe, ImfeConfig, load_imfe, read_config, region_pool_matrix

TINY = dataclasses.replace(CONFIGS["tiny"], direct=False)  # the published form at a size that tests can afford


def tiny(salt: str) -> tuple[Imfe, State]:
    model = Imfe(TINY).eval()
    state = filled(shapes_of(model), salt)
    model.load_state_dict(state)
    return model, state


def reference(state: State, clip: Tensor) -> Tensor:
    """The published network written from its description: one clip (T, 3, H, W) -> features (D,)."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    def count(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})

    x = F.relu(norm("feature_encoder.convnormrelu.1", conv("feature_encoder.convnormrelu.0", clip, 2)))
    for layer in (1, 2, 3):
        for block in range(2):
            at, stride = f"feature_encoder.layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(f"{at}.convnormrelu1.1", conv(f"{at}.convnormrelu1.0", x, stride)))
            y = F.relu(norm(f"{at}.convnormrelu2.1", conv(f"{at}.convnormrelu2.0", y)))
            if stride == 2:
                x = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", x, 2))
            x = F.relu(x + y)
    fmap = conv("feature_encoder.conv", x)

    pairs = []
    for earlier, later in itertools.pairwise(fmap):
        correlation = torch.einsum("cp,chw->phw", earlier.flatten(1), later) / earlier.shape[0] ** 0.5
        pairs.append(conv("compress_conv", correlation[None]))
    x = torch.cat(pairs, 1)
    for name in ("convcorr1.0", "convcorr2.0", "conv.0"):
        x = F.relu(conv(f"motion_encoder.{name}", x))
    x = conv("mid_conv", x)
    for layer in (3, 4):
        for block in range(count(f"resnet.layer{layer}.")):
            at, stride = f"resnet.layer{layer}.{block}", 2 if block == 0 else 1
            y = F.relu(norm(f"{at}.bn1", conv(f"{at}.conv1", x)))
            y = F.relu(norm(f"{at}.bn2", conv(f"{at}.conv2", y, stride)))
            y = norm(f"{at}.bn3", conv(f"{at}.conv3", y))
            if stride == 2:
                x = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", x, 2))
            x = F.relu(x + y)
    return x.mean((2, 3))[0]


@pytest.mark.slow
def test_the_published_network_is_reproduced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Shows that a published checkpoint loads as it is, says what it leaves out, and gives the published features."""
    checkpoint = tmp_path / "imfe.pt"
    torch.save({"model": imfe_state("open"), "epoch": 8}, checkpoint)
    with caplog.at_level(logging.INFO):
        model = load_imfe(checkpoint)
    assert "left out" in caplog.text
    frames = np.random.default_rng(zlib.crc32(b"openframes")).integers(0, 256, (12, 256, 344, 3), np.uint8)
    with torch.inference_mode():
        features, regions = model(model.normalise(torch.from_numpy(frames)).unflatten(0, (2, 6)))  # type: ignore[no-untyped-call]
    expected = torch.from_numpy(np.load(compat("imfe_open.npz"))["features"])
    assert relative_error(features, expected) < 1e-4
    assert regions.shape == (2, 2048, 12)


@pytest.mark.parametrize("salt", ["open", "other", "third"])
def test_any_weights_give_what_the_description_says(salt: str) -> None:
    """Shows that nothing is special about the fixture: other weights agree with an independent naive network."""
    model, state = tiny(salt)
    clip = torch.randn(6, 3, 96, 128)
    with torch.inference_mode():
        assert relative_error(model(clip[None])[0][0], reference(state, clip)) < 1e-4


def test_the_fused_pair_is_the_naive_pair() -> None:
    """Shows that correlation and compression are one product: equal outputs and equal gradients."""
    model, _ = tiny("fused")
    h, w = TINY.map_size
    f1 = torch.randn(3, 64, h, w, requires_grad=True)
    f2 = torch.randn(3, 64, h, w, requires_grad=True)
    fused, naive = model.pair(f1, f2), model.pair_naive(f1, f2)
    assert relative_error(fused, naive) < 1e-5
    wanted = (f1, f2, model.compress_conv.weight)
    for one, other in zip(
        torch.autograd.grad(fused.square().sum(), wanted),
        torch.autograd.grad(naive.square().sum(), wanted),
        strict=True,
    ):
        assert relative_error(one, other) < 1e-4


def test_with_direct_nothing_that_stands_still_is_seen_at_the_start_of_training() -> None:
    """Shows that pair features begin as the difference of two frames alone: zero for a still scene, wherever it is."""
    model = Imfe(CONFIGS["tiny"]).eval()
    still, moved = torch.randn(2, 2, 64, *TINY.map_size)
    assert not model.pair(still, still).any()
    assert model.pair(still, moved).any()


def test_with_direct_the_fused_pair_is_the_naive_pair() -> None:
    model = Imfe(CONFIGS["tiny"])
    torch.nn.init.normal_(model.correlation_gain)
    f1, f2 = torch.randn(2, 3, 64, *TINY.map_size)
    assert relative_error(model.pair(f1, f2), model.pair_naive(f1, f2)) < 1e-5


@pytest.mark.parametrize("hop", [1, 2, 4, 6])
def test_clips_along_a_video_are_the_clips_one_by_one(hop: int) -> None:
    """Shows that encoding each frame once changes nothing, however clips overlap."""
    model, _ = tiny("along")
    video = torch.randn(1, 15, 3, 96, 128)
    starts = range(0, 15 - 6 + 1, hop)
    with torch.inference_mode():
        features, regions = model.along(video, hop)
        for i, start in enumerate(starts):
            one_feature, one_region = model(video[:, start : start + 6])
            assert relative_error(features[:, i], one_feature) < 1e-4
            assert relative_error(regions[:, i], one_region) < 1e-4
    assert features.shape[1] == len(starts)


@pytest.mark.parametrize("size", [(8, 11), (6, 8), (3, 4), (2, 2)])
def test_region_pooling_is_adaptive_average_pooling(size: tuple[int, int]) -> None:
    x = torch.randn(1, 5, *size)
    expected = F.adaptive_avg_pool2d(x, (3, 4)).flatten(2)
    torch.testing.assert_close(x.flatten(2) @ region_pool_matrix(size, (3, 4)), expected)


def test_frames_are_normalised_as_published() -> None:
    frame = torch.zeros(96, 128, 3, dtype=torch.uint8)
    frame[..., 0] = 255
    out = Imfe(TINY).normalise(frame)
    assert out.shape == (3, 96, 128)
    torch.testing.assert_close(
        out[:, 0, 0], torch.tensor([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375])
    )


def test_the_family_keeps_its_promises() -> None:
    """Shows the sizes that a device is chosen by: parameters, and region grids that all fit one head."""
    sizes = {name: sum(p.numel() for p in Imfe(config).parameters()) for name, config in CONFIGS.items()}
    assert sizes["base"] == pytest.approx(25.6e6, rel=0.01)
    assert sizes["tiny"] < 1.5e6 < sizes["small"] < sizes["base"] / 10
    assert {config.region_grid for config in CONFIGS.values()} == {(3, 4)}


def test_our_checkpoint_brings_its_geometry(tmp_path: Path) -> None:
    model, _ = tiny("own")
    torch.save({"model": model.state_dict(), "config": dataclasses.asdict(TINY)}, tmp_path / "own.pt")
    loaded = load_imfe(tmp_path / "own.pt")
    assert loaded.config == TINY and not loaded.training


def test_a_checkpoint_of_another_geometry_is_refused(tmp_path: Path) -> None:
    model, _ = tiny("own")
    torch.save({"model": model.state_dict()}, tmp_path / "own.pt")
    with pytest.raises(InputError, match="is the config the right one"):
        load_imfe(tmp_path / "own.pt", CONFIGS["base"])
    with pytest.raises(InputError, match="has shape"):
        load_imfe(tmp_path / "own.pt", dataclasses.replace(TINY, pair_channels=16))


def test_an_unknown_tensor_is_refused(tmp_path: Path) -> None:
    model, _ = tiny("own")
    torch.save({"model": {**model.state_dict(), "extra.weight": torch.zeros(1)}}, tmp_path / "own.pt")
    with pytest.raises(InputError, match=r"unknown tensors, first 'extra\.weight'"):
        load_imfe(tmp_path / "own.pt", TINY)


def test_configurations_come_by_name_or_from_a_file(tmp_path: Path) -> None:
    assert read_config("tiny") is CONFIGS["tiny"]
    file = tmp_path / "own.json"
    file.write_text(json.dumps(dataclasses.asdict(TINY)))
    assert read_config(str(file)) == TINY


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"hight": 96}, "unknown field 'hight'"), ({"height": 100}, "multiples of 8"), ({"clip_length": 1}, "at least 2")],
)
def test_a_wrong_configuration_says_what_is_wrong(change: dict[str, int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ImfeConfig.from_dict({**dataclasses.asdict(TINY), **change})


def test_a_name_that_is_no_configuration_lists_them() -> None:
    with pytest.raises(InputError, match="expected base, small, tiny or a JSON file"):
        read_config("huge")
