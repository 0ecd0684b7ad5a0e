"""``--config``: several cameras in one process, none of which can harm another."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edge_runtime.cli.build import prepare
from edge_runtime.cli.run import parser
from edge_runtime.cli.site import Camera, Site
from edge_runtime.errors import SourceLostError
from edge_runtime.models.session import open_session
from edge_runtime.pipeline.clock import StopFlag
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.systemd import OPENING, Ward
from tests.edge_runtime.cli.conftest import Inputs, Ran
from tests.edge_runtime.cli.test_signals import PATIENCE_S, start, wait_for

Run = Callable[..., Ran]


def site(folder: Path, text: str, inputs: Inputs) -> Path:
    """A site file; ``{imfe}``, ``{clip}`` and ``{out}`` stand for paths."""
    path = folder / "site.toml"
    for name, value in (("imfe", inputs.imfe), ("clip", inputs.clip), ("skeleton", inputs.skeleton), ("out", folder)):
        text = text.replace(f"{{{name}}}", str(value))
    path.write_text(text)
    return path


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


TWO = """
model = "{imfe}"
[camera.front]
video = "{clip}"
out = "{out}/front.jsonl"
[camera.yard]
video = "{clip}"
hop = 1
out = "{out}/yard.jsonl"
"""


def test_each_camera_runs_as_it_would_alone(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    ran = edge_run("--config", site(tmp_path, TWO, inputs))
    assert ran.code == 0
    edge_run("--video", inputs.clip, "--model", inputs.imfe, "--out", tmp_path / "alone.jsonl")
    front, yard, alone = (events(tmp_path / f"{name}.jsonl") for name in ("front", "yard", "alone"))

    def results(found: list[dict[str, Any]]) -> list[tuple[int, Any]]:
        return [(event["frame"], event["top"]) for event in found if event["event"] == "result"]

    assert results(front) == results(alone)
    assert len(results(yard)) == 55
    assert {line.partition(": ")[0] for line in ran.err.splitlines() if line.strip()} == {"front", "yard"}


def test_options_of_the_command_line_hold_for_every_camera(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    edge_run("--max-frames", 12, "--config", site(tmp_path, TWO, inputs))
    for name in ("front", "yard"):
        assert events(tmp_path / f"{name}.jsonl")[-1]["frames"]["captured"] == 12


def test_a_camera_that_fails_does_not_touch_the_others(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    broken = TWO + '[camera.gone]\nvideo = "{out}/none.mp4"\n'
    ran = edge_run("--config", site(tmp_path, broken, inputs))
    assert ran.code == 2
    for name in ("front", "yard"):
        assert events(tmp_path / f"{name}.jsonl")[-1]["ended_by"] == "end-of-stream"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a table [camera.NAME]"),
        ("not toml", "is not TOML"),
        ("a = " + "[" * 3000, "nested too deep"),
        ("[camera.a]\nvideo = '{clip}'\n", "camera a: --model is missing"),
        ("[camera.a]\nmodel = '{imfe}'\n", "camera a: one of the arguments"),
        ("[camera.a]\nvideo = '{clip}'\nbogus = 1\n", "camera a: unrecognized arguments: --bogus=1"),
        ("[camera.a]\nvideo = '{clip}'\nhop = 'x'\n", "whole number"),
        ("[camera.a]\nconfig = 'x'\n", "config has no place there"),
        ("[camera.a]\nvideo = '{clip}'\nmodel = '{out}/none.onnx'\n", "camera a: model"),
        (
            "model = '{imfe}'\n[camera.a]\nvideo = '{clip}'\nout = '-'\n[camera.b]\nvideo = '{clip}'\nout = '-'\n",
            "2 cameras have out = '-'",
        ),
    ],
)
def test_a_site_that_cannot_be_used_is_one_clear_line(
    inputs: Inputs, edge_run: Run, tmp_path: Path, text: str, message: str
) -> None:
    ran = edge_run("--config", site(tmp_path, text, inputs))
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_signal_ends_every_camera_with_its_summary(inputs: Inputs, tmp_path: Path) -> None:
    """Shows one camera blocked in its read and one in the middle of a video."""
    path = site(
        tmp_path,
        '[camera.silent]\nskeleton = "-"\nmodel = "{skeleton}"\nout = "{out}/silent.jsonl"\n'
        '[camera.yard]\ndemo = true\nmodel = "{imfe}"\nout = "{out}/yard.jsonl"\n',
        inputs,
    )
    reading, writing = os.pipe()
    process = start("--config", path, stdin=reading)
    os.write(writing, b"[[0,1,2,3,4],[0,1,2,3,4],[0,1,2,3,4]]\n")
    wait_for(tmp_path / "silent.jsonl", '"result"', process)
    wait_for(tmp_path / "yard.jsonl", '"result"', process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_S)
    os.close(writing)
    assert process.returncode == 0, err
    assert events(tmp_path / "silent.jsonl")[-1]["ended_by"] == "signal"
    assert events(tmp_path / "yard.jsonl")[-1]["event"] == "summary"


def test_cameras_share_the_weights(inputs: Inputs) -> None:
    data = inputs.skeleton.read_bytes()
    first = open_session(data)
    assert open_session(data) is first
    assert open_session(data, threads=2) is not first


def test_a_shared_session_serves_threads_at_once(inputs: Inputs, edge_run: Run, tmp_path: Path) -> None:
    """Shows four cameras on one model, each with the results of one alone."""
    cameras = "".join(f'[camera.c{i}]\nvideo = "{{clip}}"\nout = "{{out}}/{i}.jsonl"\n' for i in range(4))
    ran = edge_run("--config", site(tmp_path, f'model = "{{imfe}}"\nhop = 1\n{cameras}', inputs))
    assert ran.code == 0
    tops = [[event["top"] for event in events(tmp_path / f"{i}.jsonl") if event["event"] == "result"] for i in range(4)]
    assert tops[0] == tops[1] == tops[2] == tops[3]
    assert len(tops[0]) == 55


def test_a_run_that_is_opened_again_knows_nothing_of_the_one_before(inputs: Inputs, tmp_path: Path) -> None:
    """Shows what a site does when a camera was given up: the same results, and stages counted once."""
    arguments = ["--video", str(inputs.clip), "--model", str(inputs.imfe), "--hop", "2", "--max-frames", "20"]
    prepared = prepare(parser().parse_args([*arguments, "--out", str(tmp_path / "out.jsonl")]))
    found = []
    for _ in range(2):
        prepared.open(StopFlag(), Ward()).run()
        found.append(events(tmp_path / "out.jsonl"))
    first, again = ([event["top"] for event in run if event["event"] == "result"] for run in found)
    assert first == again
    assert found[1][-1]["stages"]["imfe.encoder"]["n"] == 20


def test_a_camera_that_is_opened_again_starts_with_the_current_models(inputs: Inputs, tmp_path: Path) -> None:
    """Shows new files and SIGHUP while the camera is away, then the old files again: each run has what lies there."""
    models, out = tmp_path / "models", tmp_path / "out.jsonl"
    models.mkdir()
    for file in (inputs.imfe, inputs.imfe.with_name("rtstgcn.onnx")):
        shutil.copy(file, models)
    old = (models / "imfe.onnx").read_bytes()
    other = onnx.load_from_string(old)
    other.doc_string = "the same weights, another file"
    arguments = ["--video", str(inputs.clip), "--model", str(models / "imfe.onnx"), "--out", str(out)]
    prepared = prepare(parser().parse_args(arguments))
    for data in (old, other.SerializeToString(), old):
        (models / "imfe.onnx").write_bytes(data)
        for reload in prepared.reloads:
            reload()
        prepared.open(StopFlag(), Ward()).run()
        start, *_, summary = events(out)
        assert start["models"] == summary["models"]
        assert summary["models"]["model"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_an_offer_that_is_taken_back_before_it_is_warm_is_forgotten(inputs: Inputs, tmp_path: Path) -> None:
    """Shows a roll-back: the files that run lie there again, and the one that was warming up is let go."""
    model = tmp_path / "skeleton.onnx"
    shutil.copy(inputs.skeleton, model)
    prepared = prepare(parser().parse_args(["--skeleton", "-", "--model", str(model)]))
    old = model.read_bytes()
    other = onnx.load_from_string(old)
    other.doc_string = "another file"
    model.write_bytes(other.SerializeToString())
    renew = prepared.reloads[-1]
    renew()
    assert prepared.lineup.successor is not None
    model.write_bytes(old)
    renew()
    assert prepared.lineup.successor is None


class Away:
    """What a site runs: a camera whose source is lost, ``stuck`` in its driver for as long as the test says."""

    reloads = ()

    def __init__(self) -> None:
        self.opened = 0
        self.stuck = threading.Event()

    def open(self, *_: object) -> Pipeline:
        self.opened += 1
        raise SourceLostError("gone", self.stuck.is_set)


def test_a_camera_whose_driver_is_stuck_is_left_alone_until_it_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows no attempt beside a thread that hangs, its state for the manager, and the next attempt when it is gone."""
    away, stop = Away(), StopFlag()
    away.stuck.set()
    monkeypatch.setattr("edge_runtime.cli.site._RETRY_S", 0.01)
    monkeypatch.setattr("edge_runtime.cli.build.prepare", lambda _: away)
    site = Site([Camera("yard", argparse.Namespace())], stop)
    (ward,) = site._wards
    until(lambda: ward.absence == OPENING)
    run = threading.Thread(target=site._run, args=(ward, away))
    run.start()
    until(lambda: ward.state == "stuck")
    assert away.opened == 1
    assert ward.settled and ward.advanced()  # no reason to restart those that run
    away.stuck.clear()
    until(lambda: away.opened > 1)
    stop.request("signal")
    run.join(PATIENCE_S)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
