"""CoST-GCN and ST-GCN at the published geometry, by the commands that a user gives: exported, then run on a device.

CoST-GCN with 69 taps and ST-GCN have an eighth of the channels: whole, they take minutes, and what is shown is time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edge_runtime.cli.run import main as edge_run
from tests.trainer.published import compat
from trainer.cli import main as trainer
from trainer.nets.config import numbered_labels, options_of
from trainer.nets.family import build

FRAMES = 60
CLASSES = 52


def configuration(network: str, kernel: int, part: int) -> dict[str, Any]:
    """The published CoST-GCN configuration, for ``network`` with this kernel and a ``part``-th of the channels."""
    raw: dict[str, Any] = json.loads(compat("config_costgcn_pku-mmd.json").read_text())
    raw["processor"]["model"] = network
    raw["arch"]["kernel"] = raw["arch"]["st-gcn"]["kernel"] = kernel
    for key in ("in_ch", "out_ch"):
        raw["arch"]["st-gcn"][key] = [channels // part for channels in raw["arch"]["st-gcn"][key]]
    return raw


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "kernel", "part"), [("co-st-gcn", 9, 1), ("co-st-gcn", 69, 8), ("st-gcn", 9, 8), ("st-gcn", 69, 8)]
)
def test_from_the_published_configuration_to_results(tmp_path: Path, network: str, kernel: int, part: int) -> None:
    """Shows that for every frame of a skeleton edge-run gives the label and score that torch gives to the whole trial,
    at the moment that the network's delay says."""
    raw, graph = configuration(network, kernel, part), compat("skeleton_pku-mmd.json")
    config, checkpoint, out = tmp_path / "config.json", tmp_path / "net.pt", tmp_path / "net.onnx"
    config.write_text(json.dumps(raw))
    torch.manual_seed(0)
    net = build(options_of(raw, config), numbered_labels(CLASSES), graph).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    torch.save({"model_state_dict": net.state_dict()}, checkpoint)
    export = ["--config", config, "--checkpoint", checkpoint, "--graph", graph, "--out", out]
    assert trainer(["rtstgcn", "export", *map(str, export)]) == 0

    x = torch.randn(3, FRAMES, 25).cumsum(1) / 5
    np.save(tmp_path / "walk.npy", x.numpy())
    results = tmp_path / "walk.jsonl"
    run = ["--skeleton", tmp_path / "walk.npy", "--rate", 30, "--model", out, "--out", results]
    assert edge_run(list(map(str, run))) == 0
    events = [json.loads(line) for line in results.read_text().splitlines()]
    found = [event for event in events if event["event"] == "result"]
    assert [event["frame"] for event in found] == list(range(FRAMES))

    delay = 0 if network == "st-gcn" else sum(kernel // 2 * stride for stride in raw["arch"]["st-gcn"]["stride"])
    with torch.inference_mode():
        # at its end a recording stands still, until the network has spoken of its last frame
        scores = net(F.pad(x[None], (0, 0, 0, delay), mode="replicate"))[0, :, delay:].softmax(0)
    for t, event in enumerate(found):
        label = int(event["label"].removeprefix("class "))
        assert event["score"] == pytest.approx(float(scores[label, t]), rel=1e-3)
        assert event["score"] == pytest.approx(float(scores[:, t].max()), rel=1e-3)
