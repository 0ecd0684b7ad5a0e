"""What the published networks compute, from the compatibility fixtures; tests that need them skip without them."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]


def compat(name: str) -> Path:
    """A file of the compatibility fixtures; skips the test where there is none."""
    root = Path(os.environ.get("EDGE_COMPAT", Path(__file__).parents[3] / "shared" / "compat"))
    if not (root / name).exists():
        pytest.skip(f"{name} is not in {root}; set EDGE_COMPAT to the folder of compatibility fixtures")
    return root / name


@functools.cache
def _synthetic_weights(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("synthetic_weights", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(shapes: Mapping[str, Sequence[int]], salt: str) -> State:
    """Weights of these names and shapes, determined by the salt."""
    arrays = _synthetic_weights(compat("synthetic_weights.py")).fill(dict(shapes), salt)
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def shapes_of(module: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def imfe_state(salt: str) -> State:
    """A published IMFE checkpoint's state dict."""
    return filled(json.loads(compat("imfe_shapes.json").read_text()), salt)


def rt_state(salt: str) -> State:
    """A published RT-ST-GCN checkpoint's state dict: adjacency given, edge importance around one."""
    state = filled(json.loads(compat("rt_shapes.json").read_text()), salt)
    return with_graph(state, salt, torch.from_numpy(np.load(compat("rt_open.npz"))["A"]))


def with_graph(state: State, salt: str, A: Tensor) -> State:
    for name, value in state.items():
        if name.endswith("edge_importance"):
            noise = np.random.default_rng(zlib.crc32((salt + name).encode())).standard_normal(value.shape)
            state[name] = torch.from_numpy((1 + 0.2 * noise).astype(np.float32))
    return {**state, "A": A}


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())
