"""Checkpoints that survive a kill at any moment, and that resume the run exactly.

A checkpoint is written beside its final name and moved there in one step, so that the name always holds a whole file:
the old one or the new one. It is read with ``weights_only=True``: tensors and plain values, never code.

No random generator's state is kept: every random choice of a training step is drawn from a generator seeded by what
identifies the step, so that a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import os
import pickle
import random
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_runtime.errors import InputError

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write ``state`` (tensors, numbers, strings, lists and dicts of them) to ``path``, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # a power cut after the rename must not leave an empty file under the final name
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, map_location: str | torch.device = "cpu") -> State:
    """Read a checkpoint.

    Raises:
        InputError: no such file, a truncated one, or one that would need to execute code to be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train first, or check the path")
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, because it is damaged or reading it would execute code; expected a checkpoint of "
            "tensors and plain values (torch.save of a state dict)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable checkpoint (truncated?): {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: expected a dict of tensors, found {type(state).__name__}")
    return state


def seed_everything(*identity: int) -> None:
    """Seed every generator by what identifies the moment: the run's seed, the step, the process."""
    seed = zlib.crc32(repr(identity).encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def deterministic() -> None:
    """Forbid kernels whose result depends on the order of threads (warn where there is no other)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for on CUDA
    torch.use_deterministic_algorithms(True, warn_only=True)
