"""What is handed to a device or a monitoring system is well formed and speaks of things that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from edge_runtime.events import Fault
from edge_runtime.sinks.prometheus import exposition
from edge_runtime.support import SUPPORTED
from tests.edge_runtime.sinks.live import FakeRun, start

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd")
def test_the_service_is_what_systemd_understands(tmp_path: Path) -> None:
    """Shows that `systemd-analyze verify` has nothing to say, and that little is exposed."""
    program = tmp_path / "edge-run"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "edge-run@door.service"
    unit.write_text((DEPLOY / "edge-run@.service").read_text().replace("/opt/edge-run/venv/bin/edge-run", str(program)))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True
    )
    assert judged.returncode == 0, judged.stdout[-300:]  # 2.0 of 10 or better


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_are_executable(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("machine", "bits", "glibc", "found"),
    [
        ("armv7l", "32", "glibc 2.36", "found a armv7l processor or kernel"),
        ("aarch64", "32", "glibc 2.36", "found a 32-bit system under a 64-bit kernel"),
        ("aarch64", "64", "glibc 2.27", "found glibc 2.27"),
        ("aarch64", "64", "musl 1.2", "found another C library"),
    ],
)
def test_the_installer_refuses_what_cannot_work(machine: str, bits: str, glibc: str, found: str) -> None:
    """Shows that it says what was found and what is supported, in the runtime's own words, and touches nothing."""
    environ = os.environ | {"EDGE_MACHINE": machine, "EDGE_BITS": bits, "EDGE_GLIBC": glibc}
    done = subprocess.run([DEPLOY / "install.sh"], env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert found in done.stderr
    assert SUPPORTED in done.stderr


@pytest.mark.parametrize("glibc", ["glibc 2.28", "glibc 2.36", "glibc 2.100"])
def test_the_installer_accepts_what_works(glibc: str) -> None:
    environ = os.environ | {"EDGE_MACHINE": "aarch64", "EDGE_BITS": "64", "EDGE_GLIBC": glibc}
    done = subprocess.run([DEPLOY / "install.sh", "--check"], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rules_and_dashboard_name_metrics_that_exist() -> None:
    """Shows that no alert and no panel waits for a series that is never written."""
    run = FakeRun()
    run.emit(start())
    run.play()
    run.emit(Fault("gap", 1.0))
    run.account.captured_and_dropped("overload")
    run.account.sinks = lambda: {"mqtt": {"failed": 1, "lost": 2}}
    text = exposition(run.telemetry.metrics(viewers=1))
    written = set(re.findall(r"^(edge_[a-z_]+)", text, re.MULTILINE))
    for file in (DEPLOY / "prometheus/alerts.yml", DEPLOY / "grafana/edge.json"):
        asked = set(re.findall(r"\b(edge_[a-z_]+)\b", file.read_text()))
        assert len(asked) > 5
        assert asked <= written, file.name


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DEPLOY / "grafana/edge.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))  # no panel lies on another
    assert max(x for x, _ in cells) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
@pytest.mark.parametrize(("what", "file"), [("check", "alerts.yml"), ("test", "alerts_test.yml")])
def test_prometheus_takes_the_rules(what: str, file: str) -> None:
    """Shows that the rules are valid, and that they fire when they should and not otherwise."""
    command = ["promtool", what, "rules", DEPLOY / "prometheus" / file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_of_the_images(status: int, code: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.handle_request, daemon=True).start()
    command = [sys.executable, DEPLOY / "healthcheck.py", f"http://127.0.0.1:{server.server_port}/livez"]
    done = subprocess.run(command, capture_output=True)
    server.server_close()
    assert done.returncode == code
