"""Shows that the Slurm launch file starts a training and goes on with it, under a stand-in for Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.engine.conftest import raw

__all__ = ["raw"]  # the fixture: a small dataset and its configuration

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "train.sbatch"


def launch(folder: Path, out: Path | None, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a job of one node with two processes."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name, body in {"srun": 'exec "$@"', "scontrol": "echo 127.0.0.1"}.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node",
        "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "CONFIG": str(folder / "config.json"),
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    named = {} if out is None else {"OUT": str(out)}
    return subprocess.run(
        ["bash", str(SCRIPT), *options], env=os.environ | job | named, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_job_trains_and_a_requeued_one_goes_on(raw: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(raw))
    out = tmp_path / "results"
    first = launch(tmp_path, out, "--device", "cpu")
    assert first.returncode == 0, first.stderr
    assert (out / "last.pt").is_file()
    assert "epoch 3" in first.stderr
    again = launch(tmp_path, out, "--device", "cpu")
    assert again.returncode == 0, again.stderr
    assert "epoch 1" not in again.stderr  # all of it was done


def test_a_job_without_a_folder_of_results_says_so(tmp_path: Path) -> None:
    found = launch(tmp_path, None)
    assert found.returncode != 0
    assert "OUT=DIR names the folder of results" in found.stderr
