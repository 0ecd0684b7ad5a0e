"""A long run with a fault every minute, and what it cost: ``python -m tests.fuzz.soak --minutes 60``.

A camera at 30 FPS over HTTP, a real mosquitto, a web page with a viewer, JSON lines. Once a minute, in turn: the camera
is unplugged, freezes, is a second late; the broker is killed, is paused; a viewer stops reading; another model takes
over. At the end:

* the account is exact, and every line of the file is a whole event;
* every model that was offered has taken over, and the summary names the last;
* resident memory over the second half grows by less than 1 MB an hour (least squares);
* file descriptors and threads are as many as after the first round of faults.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import psutil

from tests.edge_runtime.http_camera import HttpCamera
from tests.fuzz import seeds

PERIOD_S = 60.0
LEAK_MB_PER_HOUR = 1.0


@dataclass(frozen=True)
class Sample:
    """One look at the process."""

    t_s: float
    rss_mb: float
    descriptors: int
    threads: int


class Surroundings:
    """All that a run depends on, and the ways to spoil it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.model = model
        self.swaps = 0
        rng = np.random.default_rng(0)
        self.camera = HttpCamera([rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(60)])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.broker_port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        self._broker: subprocess.Popen[bytes] | None = None
        self.start_broker()

    def start_broker(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise SystemExit("no mosquitto: apt-get install mosquitto")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._broker = subprocess.Popen([program, "-c", str(self._config)], **quiet)  # type: ignore[call-overload]

    def kill_broker(self, away_s: float) -> None:
        assert self._broker is not None
        self._broker.kill()
        self._broker.wait()
        time.sleep(away_s)
        self.start_broker()

    def pause_broker(self, away_s: float) -> None:
        assert self._broker is not None
        self._broker.send_signal(signal.SIGSTOP)
        time.sleep(away_s)
        self._broker.send_signal(signal.SIGCONT)

    def swap_model(self, process: subprocess.Popen[bytes]) -> None:
        """Other bytes with the same weights, put where the present ones lie by one rename."""
        model = onnx.load_from_string(self.model.read_bytes())
        self.swaps += 1
        model.doc_string = f"version {self.swaps}"
        new = self.model.with_name("new")
        new.write_bytes(model.SerializeToString())
        new.replace(self.model)
        process.send_signal(signal.SIGHUP)

    def unplug_camera(self, away_s: float) -> None:
        self.camera.down()
        time.sleep(away_s)
        self.camera.up()

    def silence_camera(self, away_s: float) -> None:
        self.camera.frozen.set()
        time.sleep(away_s)
        self.camera.frozen.clear()

    def close(self) -> None:
        self.camera.down()
        if self._broker is not None:
            self._broker.kill()


def deaf_viewer(port: int, away_s: float) -> None:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(away_s)


def soak(minutes: float) -> list[str]:
    """Run, disturb, and give what was wrong; empty when all held."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        healthy = seeds.make(folder)
        around = Surroundings(folder, healthy.imfe)
        out, err = folder / "out.jsonl", folder / "err"
        command = [sys.executable, "-m", "edge_runtime.cli.run", "--rtsp", around.camera.url, "--threads", "1"]
        command += ["--model", str(healthy.imfe), "--out", str(out), "--serve", "0"]
        command += ["--mqtt", f"mqtt://127.0.0.1:{around.broker_port}/soak"]
        with err.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr, env=os.environ | {"STATE_DIRECTORY": name})
        try:
            port = _port(process, err)
            samples = _disturb(process, around, port, minutes)
            process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            process.wait(60)
            sys.stdout.write(f"ended after {time.monotonic() - begun:.1f} s\n")
            return _verdict(process.returncode, samples, out, err) + _swapped(around, out)
        finally:
            process.kill()
            around.close()


def _port(process: subprocess.Popen[bytes], err: Path) -> int:
    while not (found := re.search(r"serving http://127\.0\.0\.1:(\d+)", err.read_text())):
        if process.poll() is not None:
            raise SystemExit(err.read_text())
        time.sleep(0.1)
    return int(found[1])


def _disturb(process: subprocess.Popen[bytes], around: Surroundings, port: int, minutes: float) -> list[Sample]:
    faults: list[tuple[str, Callable[[], object]]] = [
        ("camera unplugged 5 s", lambda: around.unplug_camera(5)),
        ("broker killed 5 s", lambda: around.kill_broker(5)),
        ("camera silent 15 s", lambda: around.silence_camera(15)),
        ("viewer that never reads 20 s", lambda: deaf_viewer(port, 20)),
        ("broker paused 20 s", lambda: around.pause_broker(20)),
        ("camera a second late", lambda: around.silence_camera(1)),
        ("another model", lambda: around.swap_model(process)),
    ]
    watched, samples = psutil.Process(process.pid), []
    threading.Thread(target=_look, args=(port,), daemon=True).start()
    begun = time.monotonic()
    number = 0
    while (now := time.monotonic() - begun) < minutes * 60:
        if process.poll() is not None:
            break
        if now > (number + 0.5) * PERIOD_S:
            text, act = faults[number % len(faults)]
            sys.stdout.write(
                f"{now / 60:6.1f} min  {samples[-1].rss_mb:7.1f} MB  {samples[-1].descriptors} fds  {text}\n"
            )
            sys.stdout.flush()
            threading.Thread(target=act, daemon=True).start()
            number += 1
        rss = watched.memory_info().rss / 2**20
        samples.append(Sample(now, rss, watched.num_fds(), watched.num_threads()))
        time.sleep(1)
    return samples


def _look(port: int) -> None:
    """An ordinary viewer, for ever."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while peer.recv(1 << 16):
                pass
    except OSError:
        return


def _verdict(code: int | None, samples: list[Sample], out: Path, err: Path) -> list[str]:
    wrong = [] if code == 0 else [f"exit code {code}"]
    events = [json.loads(line) for line in out.read_text().splitlines()]
    summary = events[-1] if events and events[-1]["event"] == "summary" else None
    if summary is None:
        wrong.append("no summary")
    else:
        frames = summary["frames"]
        if frames["captured"] != frames["processed"] + sum(frames["dropped"].values()):
            wrong.append(f"the account is off: {frames}")
        sys.stdout.write(f"{json.dumps(frames)}\n{json.dumps(summary['sinks'])}\n")
    if "Traceback" in err.read_text():
        wrong.append(f"a traceback: {err.read_text()[-800:]}")
    late = samples[len(samples) // 2 :]
    slope = float(np.polyfit([s.t_s / 3600 for s in late], [s.rss_mb for s in late], 1)[0])
    quiet = [s for s in samples if s.t_s > min(8 * PERIOD_S, samples[-1].t_s / 2)]
    descriptors = (
        float(np.median([s.descriptors for s in quiet[: len(quiet) // 4]])),
        float(np.median([s.descriptors for s in quiet[-len(quiet) // 4 :]])),
    )
    threads = (
        float(np.median([s.threads for s in quiet[: len(quiet) // 4]])),
        float(np.median([s.threads for s in quiet[-len(quiet) // 4 :]])),
    )
    hours = samples[-1].t_s / 3600
    sys.stdout.write(
        f"{hours:.2f} h: memory {samples[0].rss_mb:.0f} -> {samples[-1].rss_mb:.0f} MB, {slope:+.2f} MB/h in the "
        f"second half; descriptors {descriptors[0]:g} -> {descriptors[1]:g}; threads {threads[0]:g} -> {threads[1]:g}\n"
    )
    if slope >= LEAK_MB_PER_HOUR and hours >= 0.9:  # in less time the slope is that of buffers filling
        wrong.append(f"memory grows by {slope:.1f} MB an hour")
    if descriptors[1] > descriptors[0] + 1 or threads[1] > threads[0] + 1:
        wrong.append(f"descriptors {descriptors}, threads {threads}")
    return wrong


def _swapped(around: Surroundings, out: Path) -> list[str]:
    """What is wrong with the models that ran."""
    events = [json.loads(line) for line in out.read_text().splitlines()]
    done = sum(event.get("kind") == "model-replaced" for event in events)
    ran = events[-1].get("models", {}).get("model", {}).get("sha256")
    sys.stdout.write(f"{done} of {around.swaps} models took over\n")
    if done == around.swaps and ran == hashlib.sha256(around.model.read_bytes()).hexdigest():
        return []
    return [f"{done} of {around.swaps} models took over; the last was {ran}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    wrong = soak(parser.parse_args().minutes)
    sys.stdout.write("".join(f"WRONG {line}\n" for line in wrong) or "all held\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
