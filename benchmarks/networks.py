"""The networks that the benchmarks run: the published geometries with random weights, since weights change no time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TypeVar

import torch

from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.metadata import Graph
from trainer.export.imfe import export_imfe
from trainer.export.step import build_graph, build_metadata
from trainer.export.write import write_model
from trainer.nets.aagcn import Aagcn
from trainer.nets.costgcn import CoStGcn
from trainer.nets.graph import load_graph
from trainer.nets.imfe import CONFIGS, Imfe
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn
from trainer.nets.shiftgcn import ShiftGcn
from trainer.nets.stgcn import StGcn

PKU_MMD = Path(__file__).parents[1] / "trainer" / "nets" / "skeletons" / "pku-mmd.json"  # 25 joints
CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)  # before the first of the 9 layers, and after each
STRIDES = (1, 1, 1, 2, 1, 1, 2, 1, 1)
LABELS = tuple(f"class {i}" for i in range(52))  # PKU-MMD's 51 actions and the background

Network = TypeVar("Network", bound=FrameNetwork)


def random_imfe(config: str, folder: Path) -> ModelFile:
    """One of the IMFE family as ``folder``/NAME.onnx."""
    torch.manual_seed(0)
    path = folder / f"{config}.onnx"
    export_imfe(Imfe(CONFIGS[config]).eval(), path)
    return load_model(path)


def published_rtstgcn(gamma: int) -> RtStgcn:
    """RT-ST-GCN as published for PKU-MMD, window Γ = 9 or 69: Γ // stride taps."""
    return _random(RtStgcn(_published([gamma // stride for stride in STRIDES])))


def published_costgcn(gamma: int) -> CoStGcn:
    """CoST-GCN in the same geometry, learnt kernels of Γ taps, residuals held back to the middle of the window."""
    return _random(CoStGcn(_published([gamma] * len(STRIDES), centred=True)))


def published_stgcn() -> StGcn:
    """ST-GCN by sliding window over the published 50 frames, kernels of 9 taps."""
    return _random(StGcn(_published([9] * len(STRIDES))))


def published_aagcn() -> Aagcn:
    """AAGCN by sliding window, as ST-GCN."""
    return _random(Aagcn(_published([9] * len(STRIDES))))


def published_shiftgcn() -> ShiftGcn:
    """Shift-GCN in the same geometry, shifts of up to 8 frames (16 where others have a stride) back."""
    return _random(ShiftGcn(_published([9] * len(STRIDES))))


def small_rtstgcn() -> RtStgcn:
    """Three narrow layers on six sensors, short windows: what a step costs least."""
    layers = (LayerConfig(8, 8, 4), LayerConfig(8, 8, 3, 2, "conv"), LayerConfig(8, 8, 2))
    graph = Graph(6, tuple((i, i + 1) for i in range(5)), center=2)
    return _random(RtStgcn(NetworkConfig(3, graph, ("a", "b", "c"), layers)))


def exported(network: FrameNetwork, path: Path) -> Path:
    """Write the step graph and return its path.

    Not compared with torch as an export is (the tests do that): over three receptive fields of CoST-GCN at Γ = 69 it
    takes minutes.
    """
    graph, layers = build_graph(network)
    write_model(graph.model("step"), build_metadata(network.config, layers), path, lambda file: 0.0, graph.order)
    return path


def _published(taps: list[int], *, centred: bool = False) -> NetworkConfig:
    layers = tuple(
        LayerConfig(
            c_in,
            c_out,
            taps[i],
            STRIDES[i],
            "identity" if (c_in, STRIDES[i]) == (c_out, 1) else "conv",
            residual_delay=taps[i] // 2 * STRIDES[i] if centred else 0,
        )
        for i, (c_in, c_out) in enumerate(itertools.pairwise(CHANNELS))
    )
    return NetworkConfig(3, load_graph(PKU_MMD), LABELS, layers)


def _random(network: Network) -> Network:
    """Every parameter away from its initial value, so that nothing is left out of a comparison by being 0 or 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            varied = parameter.numel() > 1 and parameter.std() > 0
            parameter.add_(0.2 * torch.randn_like(parameter) * (parameter.std() if varied else 1))
    return network.eval()
