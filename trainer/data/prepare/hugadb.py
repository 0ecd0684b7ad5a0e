"""HuGaDB (Chereshnev & Kertesz-Farkas, 2017): six body-worn sensors, everyday activities, about 60 Hz.

Raw int16 values are kept: the network scales them itself, so that a device feeds what the sensors give.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_runtime.errors import InputError
from trainer.data.prepare import Recording, find, load_archive, split_trials

# published id -> class index; ids 9 and 12 (bicycling, sitting in a car) do not occur in the "various" recordings
IDS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11)
LABELS = (
    "walking",
    "running",
    "going_up",
    "going_down",
    "sitting",
    "sitting_down",
    "standing_up",
    "standing",
    "up_by_elevator",
    "down_by_elevator",
)
GRAPH = "hugadb-6.json"
FPS = 60.0
VAL = frozenset({"02", "03", "04", "08"})  # MS-GCN's released weights look untrained on these

NODES, CHANNELS = 6, 6


def recordings(source: Path) -> Iterator[Recording]:
    """Trials of ``hugadb_v1_various.npz`` (int16 values, an id a frame); a group is a subject."""
    file = find(source, "hugadb_v1_various.npz")
    X, y, offsets, names, subjects = load_archive(file, "X", "y", "offsets", "names", "subject")
    index = np.full(256, -1)
    index[list(IDS)] = range(len(IDS))
    labels = index[y]
    if (labels < 0).any():
        raise InputError(f"{file}: label {y[labels < 0][0]} is none of HuGaDB's ids {', '.join(map(str, IDS))}")
    for (name, frames), subject in zip(split_trials(offsets, names), subjects, strict=True):
        x = X[frames].reshape(-1, NODES, CHANNELS).transpose(2, 0, 1)  # (C, L, V)
        yield Recording(name, f"{subject:02d}", x, labels[frames])
