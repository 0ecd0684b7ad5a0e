"""Swapping models for months: what has been replaced is gone, from the process's memory too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from edge_runtime.models.metadata import RtStgcnLayer
from tests.edge_runtime.streams.small_models import SmallGcn

PATIENCE_S = 60
WIDE = tuple(RtStgcnLayer(c_in, 1536, taps=2, dilation=1) for c_in in (3, 1536, 1536))
MODEL_MB = 54  # of weights


class Run:
    """edge-run on a stream of skeletons that never ends, reading its model from ``model``."""

    def __init__(self, model: Path, out: Path) -> None:
        self.out = out
        command = ["edge_runtime.cli.run", "--skeleton", "-", "--rate", "30", "--model", model, "--out", out]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command), "--serve", "0"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        assert self.process.stdin is not None
        rng = np.random.default_rng(0)
        try:
            while True:
                self.process.stdin.write(json.dumps(rng.standard_normal((3, 5)).round(3).tolist()).encode() + b"\n")
                self.process.stdin.flush()
                time.sleep(1 / 30)
        except OSError:
            return

    @property
    def rss_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def count(self, what: str) -> int:
        return self.out.read_text().count(what) if self.out.exists() else 0

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def answers(self) -> None:
        """Until it has answered some more."""
        before = self.count('"result"')
        self.wait_for(lambda: self.count('"result"') > before + 10)


@pytest.mark.slow
def test_memory_after_many_swaps_is_what_it_was_after_the_first(tmp_path: Path) -> None:
    """Shows models of 54 MB that replace each other six times; kept, each would be 100 MB and more."""
    model, versions = tmp_path / "rtstgcn.onnx", []
    for seed in (0, 1):
        SmallGcn.make(WIDE, seed=seed).save(model)
        versions.append(model.read_bytes())
    run = Run(model, tmp_path / "out.jsonl")
    try:
        run.answers()
        alone = run.rss_mb
        after = []
        for number in range(6):
            (tmp_path / "new").write_bytes(versions[number % 2])
            (tmp_path / "new").replace(model)
            run.process.send_signal(signal.SIGHUP)
            run.wait_for(lambda: run.count('"model-replaced"') > number)  # noqa: B023  # read at once
            run.answers()
            after.append(run.rss_mb)
        assert after[-1] < alone + MODEL_MB / 2, f"{alone:.0f} MB alone, then {[round(mb) for mb in after]} MB"
    finally:
        run.process.send_signal(signal.SIGTERM)
        run.process.wait(PATIENCE_S)
