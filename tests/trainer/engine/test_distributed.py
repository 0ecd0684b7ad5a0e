"""Shows that two processes train what one does, and that no trial is lost or repeated between them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import checkpoint
from trainer.engine.distributed import World

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_are_disjoint_and_together_the_whole(count: int, size: int) -> None:
    shares = [World(rank, size, CPU).share(range(count)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(count))


def train(raw: dict[str, Any], folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """Run the command line in ``processes`` processes; the weights of its last epoch."""
    raw["processor"]["out"] = str(folder)
    config = folder.with_suffix(".json")
    config.write_text(json.dumps(raw))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", "import sys; from trainer.cli import main; sys.exit(main())"]
    command += ["rtstgcn", "train", "--config", str(config), "--device", "cpu"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            command,
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            stderr=subprocess.PIPE,
        )
        for rank in range(processes)
    ]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    state: dict[str, torch.Tensor] = checkpoint.load(folder / "last.pt")["model_state_dict"]
    return state


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(raw: dict[str, Any], tmp_path: Path) -> None:
    # five trials in batches of two: the last batch has one, so that one process has none
    raw["optimizer"] |= {"epochs": 2, "learning_rate": 0.001}
    one, two = train(raw, tmp_path / "one", 1), train(raw, tmp_path / "two", 2)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
    for mine, other in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert mine == pytest.approx(other, rel=1e-3, nan_ok=True)


def history(folder: Path) -> list[list[float]]:
    """Metrics of each epoch: what all trials together gave."""
    lines = (folder / "history.csv").read_text().splitlines()
    skipped = lines[0].split(",").index("seconds")
    return [[float(v) for i, v in enumerate(line.split(",")) if i != skipped] for line in lines[1:]]
