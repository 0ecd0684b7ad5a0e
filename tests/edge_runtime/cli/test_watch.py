"""edge-run as others see it: page, probes, metrics, broker, hook, service manager; and its end when all are gone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_runtime.cli.watch import WatchOptions
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import StageTimes
from tests.edge_runtime.cli.conftest import Inputs, Ran
from tests.edge_runtime.http_camera import HttpCamera
from tests.edge_runtime.sinks.live import FakeRun

PATIENCE_S = 30


@pytest.fixture
def camera() -> Iterator[HttpCamera]:
    images = [np.full((48, 64, 3), 10 * n, np.uint8) for n in range(20)]
    camera = HttpCamera(images)
    yield camera
    camera.down()


class Run:
    """A process of edge-run on a live camera, with its page."""

    def __init__(self, camera: HttpCamera, inputs: Inputs, folder: Path, *more: object, **environ: str) -> None:
        self.out, self._err = folder / "out.jsonl", folder / "err"
        command = [sys.executable, "-m", "edge_runtime.cli.run", "--rtsp", camera.url, "--model", inputs.imfe]
        self.process = subprocess.Popen(
            [*map(str, [*command, "--out", self.out, "--serve", "0", *more])],
            stderr=self._err.open("wb"),
            stdout=subprocess.DEVNULL,
            env=os.environ | environ,
        )
        self.port = int(self.wait_for(lambda: re.search(r"serving http://127\.0\.0\.1:(\d+)", self.err()))[1])

    def err(self) -> str:
        return self._err.read_text()

    def wait_for(self, found: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (value := found()):
            assert self.process.poll() is None, self.err()
            assert time.monotonic() < deadline, self.err()
            time.sleep(0.05)
        return value

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def is_state(self, state: str) -> bool:
        return self.get("/readyz")[1] == f"{state}\n"

    def end(self) -> float:
        """Seconds from SIGTERM to the end."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - begun

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.mark.slow
def test_probes_tell_a_lost_camera_from_a_dead_run(camera: HttpCamera, inputs: Inputs, tmp_path: Path) -> None:
    """Shows ok, starved but alive while the camera is away, ok again; and the account adds up at the end."""
    run = Run(camera, inputs, tmp_path)
    run.wait_for(lambda: run.is_state("ok"))
    assert run.get("/livez")[0] == run.get("/readyz")[0] == 200
    camera.down()
    run.wait_for(lambda: run.is_state("starved"))
    run.wait_for(lambda: run.get("/livez")[0] == 200 and run.get("/readyz")[0] == 503)
    camera.up()
    run.wait_for(lambda: run.is_state("ok"))
    status, metrics = run.get("/metrics")
    assert status == 200
    assert 'edge_faults_total{kind="source-lost"} 1' in metrics
    run.end()
    assert run.process.returncode == 0
    summary = run.events()[-1]
    frames = summary["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert summary["ended_by"] == "signal"


@pytest.mark.slow
def test_the_end_waits_for_nobody(camera: HttpCamera, inputs: Inputs, tmp_path: Path) -> None:
    """Shows a clean end within two seconds with a silent camera, a dead broker, a deaf hook and a deaf viewer.

    The promise is two seconds; the bound here leaves room for a machine that is busy with other things.
    """
    pytest.importorskip("paho.mqtt", reason="no paho-mqtt: pip install edge-action[mqtt]")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        run = Run(camera, inputs, tmp_path, "--mqtt", "mqtt://127.0.0.1:9", "--webhook", f"http://127.0.0.1:{port}/")
        run.wait_for(lambda: run.is_state("ok"))
        with socket.create_connection(("127.0.0.1", run.port)) as viewer:
            viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            camera.frozen.set()
            time.sleep(0.5)
            assert run.end() < 8
    assert run.process.returncode == 0, run.err()
    assert run.events()[-1]["event"] == "summary"
    assert "Traceback" not in run.err()


@pytest.mark.slow
def test_a_full_broker_is_nothing_to_inference(camera: HttpCamera, inputs: Inputs, tmp_path: Path) -> None:
    """Shows a mosquitto out of memory that throws its clients out: results come as before, and every frame is known."""
    mqtt = pytest.importorskip("tests.edge_runtime.sinks.test_mqtt")
    if mqtt.MOSQUITTO is None:
        pytest.skip("no mosquitto: apt-get install mosquitto")
    broker = mqtt.Mosquitto(tmp_path, "allow_anonymous true\nmax_queued_messages 0\nmemory_limit 200000")
    try:
        mqtt.Listener(broker).close()  # the broker keeps all for it
        run = Run(camera, inputs, tmp_path, "--mqtt", f"mqtt://127.0.0.1:{broker.port}/site/yard")
        run.wait_for(lambda: run.is_state("ok"))
        before = _ages(run, 20)
        filler = FakeRun()
        sink = mqtt.sink_to(broker.url, filler, mqtt.Spool(limit=10))
        run.wait_for(lambda: filler.play(50) or "events wait until it is back" in run.err())
        during = _ages(run, 20)
        sink.close()
        run.end()
    finally:
        broker.kill()
    assert run.process.returncode == 0, run.err()
    assert statistics.median(during) < 3 * statistics.median(before)
    summary = run.events()[-1]
    frames, sink = summary["frames"], summary["sinks"]["mqtt"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert (sink["lost"], sink["failed"]) == (0, 0)


def _ages(run: Run, count: int) -> list[float]:
    """Milliseconds from capture to result, of the next results."""

    def ages() -> list[float]:
        return [event["capture_to_result_ms"] for event in run.events() if event["event"] == "result"]

    seen = len(ages())
    run.wait_for(lambda: len(ages()) >= seen + count)
    return ages()[seen:]


@pytest.mark.slow
def test_a_service_manager_hears_the_truth_and_reloads_thresholds(
    camera: HttpCamera, inputs: Inputs, tmp_path: Path
) -> None:
    """Shows READY, STATUS, a watchdog fed while frames come, SIGHUP with a good file and with a bad one, STOPPING."""
    budgets = tmp_path / "budgets.toml"
    budgets.write_text("[health]\nstarved_s = 60\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        heard: list[str] = []

        def hear(message: str) -> None:
            while not any(message in line for line in heard):
                heard.append(manager.recv(4096).decode())
            heard.clear()

        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        run = Run(camera, inputs, tmp_path, "--budgets", budgets, **environ)
        hear("READY=1")
        hear("STATUS=ok")
        hear("WATCHDOG=1")
        budgets.write_text("[health]\nstarved_s = 0.5\n")
        run.process.send_signal(signal.SIGHUP)
        run.wait_for(lambda: "thresholds reloaded" in run.err())
        budgets.write_text("[health]\nstarved_s = 'soon'\n")
        run.process.send_signal(signal.SIGHUP)
        run.wait_for(lambda: "kept as it was" in run.err())
        camera.frozen.set()
        heard.clear()
        hear("STATUS=starved")
        run.end()
        hear("STOPPING=1")
    assert run.process.returncode == 0


@pytest.mark.slow
def test_a_site_is_ready_and_fed_while_one_of_its_cameras_is_away(
    camera: HttpCamera, inputs: Inputs, tmp_path: Path
) -> None:
    """Shows one camera that is not there at boot, READY and a fed watchdog all the same, and each by its name."""
    path = tmp_path / "site.toml"
    cameras = f'[camera.front]\nrtsp = "{camera.url}"\n[camera.yard]\nrtsp = "http://127.0.0.1:9/none"\n'
    path.write_text(f'model = "{inputs.imfe}"\nthreads = "1"\n{cameras}')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        environ = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        command = [sys.executable, "-m", "edge_runtime.cli.run", "--config", str(path)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ)
        heard: set[str] = set()
        while not {"READY=1", "STATUS=front: ok, yard: away", "WATCHDOG=1"} <= heard:
            heard.add(manager.recv(4096).decode())
        process.send_signal(signal.SIGTERM)
        while manager.recv(4096) != b"STOPPING=1":
            pass
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_a_new_model_takes_over_without_a_gap(camera: HttpCamera, inputs: Inputs, tmp_path: Path) -> None:
    """Shows a new file behind the same name and SIGHUP: it warms up and takes over; a broken one changes nothing."""
    models = tmp_path / "models"
    models.mkdir()
    for file in (inputs.imfe, inputs.imfe.with_name("rtstgcn.onnx")):
        shutil.copy(file, models)
    run = Run(camera, replace(inputs, imfe=models / "imfe.onnx"), tmp_path)
    run.wait_for(lambda: run.is_state("ok"))

    def install(name: str, data: bytes) -> None:
        (models / "new").write_bytes(data)
        (models / "new").replace(models / name)
        run.process.send_signal(signal.SIGHUP)

    def heard(kind: str) -> list[dict[str, Any]]:
        return [event for event in run.events() if event["event"] == "fault" and event["kind"] == kind]

    before = (models / "imfe.onnx").read_bytes()
    install("imfe.onnx", before[:1000])
    run.wait_for(lambda: "kept as it was" in run.err())
    changed = onnx.load_from_string(before)
    changed.doc_string = "the same weights, another file"
    install("imfe.onnx", changed.SerializeToString())
    run.wait_for(lambda: heard("model-replaced"))
    count = len(run.events())
    run.wait_for(lambda: len(run.events()) > count + 5)
    run.end()
    assert run.process.returncode == 0, run.err()
    told = heard("model-replaced")[0]["detail"]["models"]["model"]["sha256"]
    assert told == hashlib.sha256(changed.SerializeToString()).hexdigest()
    results = [event for event in run.events() if event["event"] == "result"]
    assert len({event["frame"] for event in results}) == len(results)
    swap = heard("model-replaced")[0]["t"]
    assert all(event["warm"] for event in results if event["t"] > swap and not heard("gap"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--serve", "0.0.0.0:0", "a token is required"),
        ("--serve", "http", "expected [HOST:]PORT"),
        ("--mqtt", "http://broker", "expected mqtt[s]://"),
        ("--mqtt", "mqtt://me:${NO_SUCH_SECRET}@broker", "secret NO_SUCH_SECRET is not set"),
        ("--webhook", "ftp://host/", "expected http[s]://"),
    ],
)
def test_a_bad_option_is_one_line_before_anything_is_opened(
    edge_run: Callable[..., Ran], tmp_path: Path, option: str, value: str, message: str
) -> None:
    ran = edge_run("--video", "none.mp4", "--model", "none.onnx", "--out", tmp_path / "out.jsonl", option, value)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_cameras_of_a_site_share_a_broker_and_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that each has its own topics, connection, Home Assistant device and spool."""
    mqtt = pytest.importorskip("edge_runtime.sinks.mqtt", reason="no paho-mqtt: pip install edge-action[mqtt]")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    sinks = []
    for name in ("front", "yard"):
        options = Namespace(name=name, budgets=None, serve=None, mqtt="mqtt://127.0.0.1:9/site", webhook=None)
        watching = WatchOptions(options).open(StageMonitor(Budgets.derive(30, 6), StageTimes()), Account())
        sinks += [sink for sink in watching.sinks if isinstance(sink, mqtt.MqttSink)]
    assert [sink._broker.prefix for sink in sinks] == ["site/front", "site/yard"]
    assert len({sink._client._client_id for sink in sinks}) == 2
    assert (tmp_path / "mqtt-front.spool").exists() and (tmp_path / "mqtt-yard.spool").exists()
    for sink in sinks:
        sink.close()


def test_bad_thresholds_are_one_line(edge_run: Callable[..., Ran], inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("[health]\nhung_s = -1\n")
    ran = edge_run("--video", inputs.clip, "--model", inputs.imfe, "--budgets", tmp_path / "b.toml")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "[health] hung_s: expected a positive number" in ran.err
