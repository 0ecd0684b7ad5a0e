"""A small dataset and network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.skeletons import save_trial

LENGTHS = {"train": (60, 45, 70, 52, 38), "val": (50, 40)}


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    """A configuration whose dataset is there: five trials to train, two to validate, of different lengths."""
    rng = np.random.default_rng(0)
    for split, lengths in LENGTHS.items():
        for i, length in enumerate(lengths):
            labels = np.repeat(rng.integers(0, 3, length // 10 + 1), 10)[:length]
            x = rng.standard_normal((2, length, 3)).astype(np.float32) + labels[None, :, None]
            save_trial(tmp_path / "data" / split, f"trial_{i}", x, labels)
    (tmp_path / "data" / "actions.txt").write_text("0 rest\n1 wave\n2 jump\n")
    return {
        "processor": {
            "model": "rt-st-gcn",
            "data": str(tmp_path / "data"),
            "out": str(tmp_path / "out"),
            "graph": {"num_node": 3, "edge": [[0, 1], [1, 2]], "center": 1},
        },
        "arch": {
            "in_feat": 2,
            "segment": 25,
            "rt-st-gcn": {"layers": 2, "in_ch": 6, "out_ch": 6, "kernel": 4, "dropout": 0.2},
        },
        "optimizer": {"seed": 5, "epochs": 3, "batch_size": 2, "learning_rate": 0.01, "ema": 0.9},
        "augment": {"rotate": 0.1, "time_warp": 0.1},
    }
