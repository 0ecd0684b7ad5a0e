"""``--fallback-model``: for policy degrade only, part of what the run says of itself, and turned to under overload."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_runtime.pipeline.policy import CALM_TO_RECOVER
from tests.edge_runtime.http_camera import HttpCamera
from tests.edge_runtime.streams.small_models import SmallImfe


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallImfe.make(seed=1).save(tmp_path_factory.mktemp("smaller") / "imfe.onnx")


def test_the_run_tells_of_the_smaller_model_and_where_it_runs(
    inputs: Any, edge_run: Any, smaller: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    given = ("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", smaller, "--out", out)
    assert edge_run(*given, "--policy", "degrade").code == 0
    start, *_, summary = [json.loads(line) for line in out.read_text().splitlines()]
    assert set(start["models"]) == {"model", "head", "fallback model", "fallback head"}
    assert start["models"]["fallback head"] == start["models"]["head"]
    assert start["policy"] == "degrade"
    assert summary["providers"]["fallback imfe.encoder"] == "cpu"


def test_a_policy_that_never_turns_to_it_refuses_it(inputs: Any, edge_run: Any, smaller: Path) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", smaller, "--policy", "block")
    assert ran.code == 2
    assert "--fallback-model is for --policy degrade; --policy block never turns to it" in ran.err


def test_a_smaller_model_of_another_kind_is_refused(inputs: Any, edge_run: Any) -> None:
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--fallback-model", inputs.skeleton)
    assert ran.code == 2
    assert "its input must be the main model's, image; found skeleton" in ran.err


def save_slow(folder: Path, head: Path) -> Path:
    """The small model with a fifth of a second more a frame, whatever the machine, that changes nothing."""
    columns, weights = np.ones((48 * 64 // 2, 512 * 9), np.float32), np.ones((512 * 9, 512), np.float32)
    begun = time.perf_counter()
    np.matmul(columns, weights)  # the product that such a convolution is: 3.6 billion multiply-adds
    convolutions = max(1, round(0.2 / (time.perf_counter() - begun)))
    path = SmallImfe.make().save(folder / "imfe.onnx")
    shutil.copy(head, folder / "rtstgcn.onnx")
    model = onnx.load(path)
    shapes = {"widen": (512, 3, 3, 3), "burn": (512, 512, 3, 3)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()
    )
    at = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "fmap")
    model.graph.node[at].output[0] = "fmap.quick"
    for i, (op, inputs, output, attributes) in enumerate(
        [
            ("Conv", ["fmap.planes", "widen"], "wide.0", {"pads": [1] * 4}),
            *(("Conv", [f"wide.{n}", "burn"], f"wide.{n + 1}", {"pads": [1] * 4}) for n in range(convolutions)),
            ("ReduceMean", [f"wide.{convolutions}"], "nothing", {}),
            ("Add", ["fmap.quick", "nothing"], "fmap", {}),
        ]
    ):
        model.graph.node.insert(at + 1 + i, helper.make_node(op, inputs, [output], **attributes))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def camera() -> Iterator[HttpCamera]:
    camera = HttpCamera(list(np.random.default_rng(2).integers(0, 256, (8, 48, 64, 3), np.uint8)), fps=30)
    yield camera
    camera.down()


@pytest.mark.slow
def test_a_camera_too_fast_for_the_model_gets_the_smaller_one_and_the_model_is_tried_ever_less_often(
    inputs: Any, camera: HttpCamera, tmp_path: Path
) -> None:
    """Shows the ladder on a live stream at 30 FPS and a model of 5: down to the smaller model, up again after 30 calm
    results, down since nothing has changed, up after 60; and that every frame is accounted for."""
    model = save_slow(tmp_path, inputs.folder / "rtstgcn.onnx")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "edge_runtime.cli.run", "--rtsp", camera.url, "--out", "-"),
            *("--model", model, "--fallback-model", inputs.imfe, "--hop", "3", "--deadline-ms", "300"),
            *("--duration", "180"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    events, climbs = [], 0
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1].get("kind") == "recovered" and events[-1]["detail"]["after"]["model"] == "main":
            climbs += 1
            if climbs == 2:
                process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert events[0]["policy"] == "degrade"  # which auto chooses

    def level(side: dict[str, Any]) -> tuple[str, int]:
        return side["model"], side["hop"]

    changes = [
        (i, one["kind"], level(one["detail"]["before"]), level(one["detail"]["after"]))
        for i, one in enumerate(events)
        if one.get("kind") in ("degraded", "recovered")
    ]
    assert [change[1:] for change in changes[:3]] == [
        ("degraded", ("main", 3), ("main", 6)),
        ("degraded", ("main", 6), ("main", 12)),
        ("degraded", ("main", 12), ("fallback", 3)),
    ]
    down = [i for i, kind, _, after in changes if kind == "degraded" and after == ("fallback", 3)]
    up = [i for i, kind, _, after in changes if kind == "recovered" and after == ("main", 12)]
    calm = [sum(e["event"] == "result" for e in events[i:j]) for i, j in zip(down, up, strict=False)]
    assert calm[0] >= CALM_TO_RECOVER
    assert calm[1] >= 2 * CALM_TO_RECOVER
    frames = events[-1]["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert frames["dropped"]["overload"] > 0
    assert {"imfe.encoder", "fallback imfe.encoder"} <= set(events[-1]["providers"])
