"""Penn Action (Zhang et al., 2013): 13 joints in the image plane, one action a clip.

Positions are given in half image heights from the image's middle, because clips differ in size; the third channel is
the joint's visibility.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trainer.data.prepare import Recording, find, load_archive, split_trials

LABELS = (
    "baseball_pitch",
    "baseball_swing",
    "bench_press",
    "bowl",
    "clean_and_jerk",
    "golf_swing",
    "jump_rope",
    "jumping_jacks",
    "pullup",
    "pushup",
    "situp",
    "squat",
    "strum_guitar",
    "tennis_forehand",
    "tennis_serve",
)
GRAPH = "penn-13.json"
FPS = 30.0
VAL = frozenset({"test"})


def recordings(source: Path) -> Iterator[Recording]:
    """Clips of ``penn_action.npz``; a group is the published part, ``train`` or ``test``."""
    file = find(source, "penn_action.npz")
    joints, offsets, ids, actions, train, sizes = load_archive(
        file, "joints", "offsets", "ids", "action", "train", "dimensions"
    )
    for i, (_, frames) in enumerate(split_trials(offsets, ids)):
        height, width = map(float, sizes[i, :2])
        x = joints[frames].copy()  # (L, 13, 3)
        x[..., 0] = (x[..., 0] - width / 2) / (height / 2)
        x[..., 1] = (x[..., 1] - height / 2) / (height / 2)
        labels = np.full(len(x), LABELS.index(str(actions[i])))
        yield Recording(f"{ids[i]:04d}", "train" if train[i] == 1 else "test", x.transpose(2, 0, 1), labels)
