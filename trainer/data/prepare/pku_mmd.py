"""PKU-MMD, phases 1 and 2 (Liu et al., 2017): 25 Kinect joints of two bodies, 30 Hz, 51 actions and background.

The published text: a frame a line, 2 bodies x 25 joints x 3 coordinates; ``class,start,end,confidence`` a line for the
labels, classes from 1; ``cross-view.txt`` and ``cross-subject.txt`` name the recordings to train and to validate on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from trainer.data.prepare import Recording, read_text

LABELS = ("background", *(f"action {i}" for i in range(1, 52)))
GRAPH = "pku-mmd.json"
FPS = 30.0
VAL = frozenset({"validation"})
PROTOCOLS = ("cross-view", "cross-subject")

BODIES, JOINTS, AXES = 2, 25, 3
SKELETONS = ("features", "skeleton", "PKU_Skeleton_Renew", "Data/skeleton")  # folders that the releases use
LABEL_FOLDERS = ("labels", "label", "Label", "Train_Label_PKU_final")
NAME = re.compile(r"[A-Z]?\d+(?:N\d+)?-[LMR]")  # 0002-L in phase 1, A01N01-L in phase 2


def recordings(source: Path, protocol: str = PROTOCOLS[0]) -> Iterator[Recording]:
    """Recordings under ``source``; a group is the protocol's part, ``training`` or ``validation``."""
    skeletons, labels = _folder(source, SKELETONS), _folder(source, LABEL_FOLDERS)
    training = _training(source, protocol)
    for file in sorted(skeletons.glob("*.txt")):
        x = _numbers(file, None)
        if x.shape[1] != BODIES * JOINTS * AXES:
            raise InputError(f"{file}: expected {BODIES * JOINTS * AXES} numbers a line, found {x.shape[1]}")
        features = x.reshape(-1, BODIES, JOINTS, AXES).transpose(3, 0, 2, 1).astype(np.float32)  # (C, L, V, M)
        y = np.zeros(len(x), dtype=np.int64)
        for action, start, stop in _numbers(labels / file.name, ",")[:, :3].astype(np.int64):
            if not 1 <= action < len(LABELS):
                raise InputError(f"{labels / file.name}: class {action} is not among 1 to {len(LABELS) - 1}")
            y[start:stop] = action
        group = "training" if file.stem in training else "validation"
        yield Recording(file.stem, group, features, y)


def _training(source: Path, protocol: str) -> frozenset[str]:
    """Names listed under the protocol file's heading for training."""
    file = next(iter(sorted(source.rglob(f"{protocol}*.txt"))), source / f"{protocol}.txt")
    parts = re.split(r"(?im)^\s*valid\w*.*$", read_text(file), maxsplit=1)
    names = frozenset(NAME.findall(parts[0]))
    if not names:
        raise InputError(f"{file}: lists no recordings to train on")
    return names


def _folder(source: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (source / name).is_dir():
            return source / name
    raise InputError(f"{source}: expected a folder {' or '.join(names)}")


def _numbers(file: Path, delimiter: str | None) -> npt.NDArray[np.float64]:
    try:
        return np.loadtxt(file, delimiter=delimiter, ndmin=2)
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file") from error
    except ValueError as error:
        raise InputError(f"{file}: expected lines of numbers: {error}") from error
