"""UTKinect-Action3D (Xia et al., 2012): 20 joints in metres, ten actions in one continuous take.

Samples carry the frame number of a 30 Hz counter and skip some; they are interpolated to every second number, 15 Hz.
Frames that no action claims are background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from trainer.data.prepare import Recording, read_text

ACTIONS = (
    "walk",
    "sitDown",
    "standUp",
    "pickUp",
    "carry",
    "throw",
    "push",
    "pull",
    "waveHands",
    "clapHands",
)
LABELS = ("background", *ACTIONS)
GRAPH = "utkinect-20.json"
FPS = 15.0
VAL = frozenset({"s09", "s10"})

STEP = 2  # counts of the 30 Hz counter a sample
JOINTS = 20


def recordings(source: Path) -> Iterator[Recording]:
    """Takes of ``joints/joints_sNN_eNN.txt`` with the ranges of ``labels``; a group is a subject."""
    ranges = _ranges(source / "labels")
    for file in sorted((source / "joints").glob("joints_*.txt")):
        name = file.stem.removeprefix("joints_")
        if name not in ranges:
            raise InputError(f"{source / 'labels'}: no actions for the take {name}")
        numbers, joints = _read_joints(file)
        counts = np.arange(numbers[0], numbers[-1] + 1, STEP)
        x = np.stack([np.interp(counts, numbers, column) for column in joints.T], axis=1)
        labels = np.zeros(len(counts), dtype=np.int64)
        for action, first, last in ranges[name]:
            labels[(counts >= first) & (counts <= last)] = LABELS.index(action)
        features = x.reshape(-1, JOINTS, 3).transpose(2, 0, 1).astype(np.float32)  # (xyz, L, joints)
        yield Recording(name, name[:3], features, labels)


def _read_joints(file: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    try:
        table = np.loadtxt(file, ndmin=2)
    except ValueError as error:
        raise InputError(f"{file}: expected lines of numbers: {error}") from error
    if table.shape[1] != 1 + 3 * JOINTS:
        raise InputError(
            f"{file}: expected a frame number and {3 * JOINTS} coordinates, found {table.shape[1]} columns"
        )
    numbers, first = np.unique(table[:, 0], return_index=True)  # some samples are written twice
    return numbers, table[first, 1:]


def _ranges(file: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Takes -> (action, first frame, last frame); an action without a range (NaN) is left out."""
    takes: dict[str, list[tuple[str, int, int]]] = {}
    current: list[tuple[str, int, int]] = []
    for line in read_text(file).splitlines():
        if match := re.fullmatch(r"(s\d+_e\d+)\s*", line):
            current = takes.setdefault(match[1], [])
        elif match := re.fullmatch(r"(\w+):\s*(\d+)\s+(\d+)\s*", line):
            if match[1] not in ACTIONS:
                raise InputError(f"{file}: unknown action '{match[1]}'")
            current.append((match[1], int(match[2]), int(match[3])))
    return takes
