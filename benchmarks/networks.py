"""The networks that the benchmarks run: the published geometries with random weights, since weights change no time."""

from __future__ import annotations

from pathlib import Path

import torch

from edge_runtime.models.metadata import Graph
from trainer.export import export_rtstgcn
from trainer.nets.graph import load_graph
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

PKU_MMD = Path(__file__).parents[1] / "trainer" / "nets" / "skeletons" / "pku-mmd.json"  # 25 joints
CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)  # before the first of the 9 layers, and after each
STRIDES = (1, 1, 1, 2, 1, 1, 2, 1, 1)
CLASSES = 52  # PKU-MMD's 51 actions and the background


def published_rtstgcn(gamma: int) -> RtStgcn:
    """RT-ST-GCN as published for PKU-MMD (``rtstgcn_vsc.json``), window Γ = 9 or 69."""
    layers = tuple(
        LayerConfig(c_in, c_out, gamma // stride, stride, "identity" if (c_in, stride) == (c_out, 1) else "conv")
        for c_in, c_out, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False)
    )
    labels = tuple(f"class {i}" for i in range(CLASSES))
    return _random(RtStgcn(NetworkConfig(3, load_graph(PKU_MMD), labels, layers)))


def small_rtstgcn() -> RtStgcn:
    """Three narrow layers on six sensors, short windows: what a step costs least."""
    layers = (LayerConfig(8, 8, 4), LayerConfig(8, 8, 3, 2, "conv"), LayerConfig(8, 8, 2))
    graph = Graph(6, tuple((i, i + 1) for i in range(5)), center=2)
    return _random(RtStgcn(NetworkConfig(3, graph, ("a", "b", "c"), layers)))


def exported(model: RtStgcn, path: Path) -> Path:
    """Write the step graph and return its path."""
    export_rtstgcn(model, path)
    return path


def _random(model: RtStgcn) -> RtStgcn:
    """Every parameter away from its initial value, so that nothing is left out of a comparison by being 0 or 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter) * (parameter.std() if parameter.std() > 0 else 1))
    return model.eval()
