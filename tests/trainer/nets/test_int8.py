"""Shows that training for int8 sees what the int8 file computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import Graph
from edge_runtime.quantization.matmul import quantize_weight
from edge_runtime.quantization.rtstgcn import quantize_rtstgcn
from edge_runtime.streams import RtStgcnStream
from trainer.export import export_rtstgcn
from trainer.nets.int8 import rounded_columns, rounded_frames, train_for_int8
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

GRAPH = Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), center=2)
LAYERS = (LayerConfig(32, 32, 5), LayerConfig(32, 64, 3, 2, "conv"), LayerConfig(64, 64, 4))


def network(**options: object) -> RtStgcn:
    torch.manual_seed(0)
    net = RtStgcn(NetworkConfig(3, GRAPH, ("rest", "walk", "run"), LAYERS, **options))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


@pytest.mark.parametrize("normalization", ["LayerNorm", "BatchNorm"])
def test_the_simulation_is_the_quantized_file(tmp_path: Path, normalization: str) -> None:
    """Shows that a network set to int8 gives the logits of the int8 file, and not those of fp32."""
    net = network(normalization=normalization)
    x = torch.randn(1, 3, 60, 5)
    with torch.inference_mode():
        plain = net(x)[0].t()
    export_rtstgcn(net, tmp_path / "fp32.onnx")
    frames = x[0].permute(1, 0, 2).numpy()
    quantized = quantize_rtstgcn(load_model(tmp_path / "fp32.onnx"), "dynamic", [frames])
    streamed = torch.from_numpy(RtStgcnStream(quantized.file).steps(frames))
    train_for_int8(net)
    with torch.inference_mode():
        simulated = net(x)[0].t()
    rounding = (streamed - plain).abs().mean()
    assert rounding > 1e-4
    assert (streamed - simulated).abs().mean() < 0.1 * rounding


def test_columns_are_rounded_as_the_quantizer_does() -> None:
    weight = torch.randn(40, 7)
    integers, scale = quantize_weight(weight.numpy())
    torch.testing.assert_close(rounded_columns(weight), torch.from_numpy(integers * scale))


def test_a_frame_has_256_values_and_zero_is_one_of_them() -> None:
    x = torch.randn(1, 2, 50, 40)
    x[0, 1] = x[0, 1].abs() * 100  # each frame has its own range
    rounded = rounded_frames(x)
    for before, after in zip(x[0], rounded[0], strict=True):
        assert len(after.unique()) <= 256
        assert (after - before).abs().max() <= 0.51 * (before.max() - before.min().clamp(max=0)) / 255
    assert rounded_frames(torch.zeros(1, 1, 3)).abs().max() == 0


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    x = torch.randn(1, 4, 6, requires_grad=True)
    (rounded_frames(x) * 3).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and (x.grad == 3).all()


def test_every_nth_output_is_the_same_in_int8() -> None:
    """Shows that a layer that skips frames rounds the ones that it sums, as the device does."""
    torch.manual_seed(0)
    layers = (LayerConfig(32, 32, 4), LayerConfig(32, 32, 4, dilation=2))
    net = RtStgcn(NetworkConfig(3, GRAPH, ("rest", "walk"), layers)).eval()
    train_for_int8(net)
    x = torch.randn(1, 3, 40, 5)
    with torch.inference_mode():
        torch.testing.assert_close(net(x, every=2), net(x)[:, :, 1::2], rtol=1e-4, atol=1e-4)
