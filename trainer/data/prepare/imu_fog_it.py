"""IMU-FOG-IT's layout: seven body-worn sensors x (acceleration xyz, rate of turn xyz), freezing of gait.

The recordings are not public; this reads their layout from one CSV a trial, ``SUBJECT_anything.csv``: 42 columns, node
by node, then the class index of the frame. A heading is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_runtime.errors import InputError
from trainer.data.prepare import Recording

LABELS = (
    "Non-FOG",
    "Trembling",
    "Akinetic",
    "Stopping",
    "Shuffling",
    "Festination",
    "Interrupt",
    "Sitting",
)
GRAPH = "imu-fog-7.json"
FPS = 64.0
VAL: frozenset[str] = frozenset()  # leave one subject out: name it with --val

NODES, CHANNELS = 7, 6


def recordings(source: Path) -> Iterator[Recording]:
    """Trials of ``source/*.csv``; a group is a subject."""
    for file in sorted(source.glob("*.csv")):
        try:
            with file.open(encoding="utf-8") as stream:
                heading = not stream.readline().partition(",")[0].strip().lstrip("+-").replace(".", "", 1).isdigit()
            table = np.loadtxt(file, delimiter=",", ndmin=2, skiprows=int(heading))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: expected lines of numbers: {error}") from error
        if table.shape[1] != NODES * CHANNELS + 1:
            raise InputError(f"{file}: expected {NODES * CHANNELS + 1} columns, found {table.shape[1]}")
        x = table[:, :-1].reshape(-1, NODES, CHANNELS).transpose(2, 0, 1).astype(np.float32)
        yield Recording(file.stem, file.stem.partition("_")[0], x, table[:, -1].astype(np.int64))
