"""Every network that sees no future, from a configuration to a stream on a device, by the commands that a user has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_runtime.cli.run import main as edge_run
from trainer.cli import FAMILY
from trainer.cli import main as trainer
from trainer.nets.family import LAYERED, load_network

COMMANDS = {"rtstgcn": "rt-st-gcn", **FAMILY}
SLOW = {"rtstgcn", "stgcn", "costgcn"}  # other tests run their commands
STREAMING = [
    pytest.param(command, marks=[pytest.mark.slow] * (command in SLOW))
    for command, network in COMMANDS.items()
    if network in LAYERED
]


def configured(raw: dict[str, Any], network: str, folder: Path) -> Path:
    """The small configuration for ``network``."""
    raw["processor"]["model"] = network
    raw["arch"] |= {"receptive_field": 7, network: raw["arch"].pop("rt-st-gcn")}
    config = folder / "config.json"
    config.write_text(json.dumps(raw))
    return config


@pytest.mark.parametrize("command", STREAMING)
def test_trained_exported_and_run_on_a_skeleton(raw: dict[str, Any], tmp_path: Path, command: str) -> None:
    """Shows that for every frame edge-run gives the score that the trained network gives to the whole recording."""
    config, out, onnx = configured(raw, COMMANDS[command], tmp_path), tmp_path / "out", tmp_path / "net.onnx"
    assert trainer([command, "train", "--config", str(config), "--device", "cpu", "--debug"]) == 0
    weights = ["--config", str(out / "config.json"), "--checkpoint", str(out / "best.pt")]
    assert trainer([command, "export", *weights, "--out", str(onnx)]) == 0

    walk, results = tmp_path / "walk.npy", tmp_path / "walk.jsonl"
    x = np.random.default_rng(0).standard_normal((2, 40, 3)).astype(np.float32)
    np.save(walk, x)
    assert edge_run(["--skeleton", str(walk), "--rate", "30", "--model", str(onnx), "--out", str(results)]) == 0
    events = [json.loads(line) for line in results.read_text().splitlines()]
    found = [event for event in events if event["event"] == "result"]

    net = load_network(out / "config.json", out / "best.pt")
    still = np.repeat(x[:, -1:], net.delay, axis=1)  # until the network has spoken of the last frame
    with torch.inference_mode():
        logits = net(torch.from_numpy(np.concatenate([x, still], axis=1))[None])[0, :, net.delay :]
    assert [event["frame"] for event in found] == list(range(40))
    best = logits.softmax(0).amax(0)
    np.testing.assert_allclose([event["score"] for event in found], best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("command", ["msgcn", "mstcn"])
def test_a_network_that_sees_the_future_is_refused(
    raw: dict[str, Any], tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shows that it trains, and that export says in one line why no stream can run it."""
    config, out = configured(raw, COMMANDS[command], tmp_path), tmp_path / "out"
    section = {"stages": 2, "layers": 3, "filters": 8, "kernel": 3}
    sized = ["--set", f"arch.{COMMANDS[command]}={json.dumps(section)}"]
    assert trainer([command, "train", "--config", str(config), "--device", "cpu", "--debug", *sized]) == 0
    capsys.readouterr()
    weights = ["--config", str(out / "config.json"), "--checkpoint", str(out / "best.pt")]
    assert trainer([command, "export", *weights, "--out", str(tmp_path / "net.onnx")]) == 2
    said = capsys.readouterr().err.strip()
    assert "labels recordings" in said and "\n" not in said
    assert not (tmp_path / "net.onnx").exists()
