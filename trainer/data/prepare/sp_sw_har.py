"""SP-SW-HAR (Matey-Sanz et al., 2023): a phone's or a watch's IMU, 100 Hz; each stream is one node's trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer.data.prepare import Recording, find, load_archive, split_trials

LABELS = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
GRAPH = "single-1.json"
FPS = 100.0
VAL = frozenset({"s03", "s08", "s13", "s18", "s22"})


def recordings(source: Path) -> Iterator[Recording]:
    """Streams of ``sp_sw_har.npz``; a group is a subject."""
    X, y, offsets, names = load_archive(find(source, "sp_sw_har.npz"), "X", "y", "offsets", "names")
    for name, frames in split_trials(offsets, names):
        yield Recording(name, name[:3], X[frames].T[:, :, None], y[frames])  # (6, L, 1)
