"""``python -m benchmarks.viewers``: what people who watch cost the run.

edge-run goes through the same video as fast as it can, in turns without a page, with a page that nobody looks at, and
with three viewers (each takes the picture and the event feed) plus one that never reads. Two figures, each the median
over the rounds of the round's ratio to its run without a page: frames a second, and processor time a frame of the whole
process. The second holds on a machine that is busy with other things, too; where a core is free it overstates the
cost, for the picture is made beside the network, not before it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: frames a second, processor milliseconds a frame, bytes that its viewers took."""

    rate: float
    cpu_ms: float
    taken: int


def cost(video: Path, model: Path, more: list[str], serve: bool, viewers: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out.jsonl", Path(folder) / "err"
        command = [sys.executable, "-m", "edge_runtime.cli.run", "--video", str(video), "--model", str(model), *more]
        command += ["--out", str(out), *(["--serve", "0"] if serve else [])]
        with err.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr)
        with ExitStack() as leave:
            taken = _watch(_port(err), viewers, leave) if viewers else []
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                raise RuntimeError(err.read_text())
            summary = json.loads(out.read_text().splitlines()[-1])
        frames = summary["frames"]["processed"]
        return Cost(frames / summary["duration_s"], 1000 * (used.ru_utime + used.ru_stime) / frames, sum(taken))


def _port(err: Path) -> int:
    while not (found := re.search(r"serving http://127\.0\.0\.1:(\d+)", err.read_text())):
        time.sleep(0.005)
    return int(found[1])


def _watch(port: int, viewers: int, leave: ExitStack) -> list[int]:
    """Connect; a list of how many bytes each connection has taken, kept up to date."""
    taken: list[int] = []

    def follow(path: str, reads: bool) -> None:
        peer = leave.enter_context(socket.create_connection(("127.0.0.1", port)))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        number = len(taken)
        taken.append(0)

        def read() -> None:
            try:
                while data := peer.recv(1 << 16):
                    taken[number] += len(data)
            except OSError:
                return  # the run has ended

        if reads:
            threading.Thread(target=read, daemon=True).start()

    for _ in range(viewers):
        follow("/stream.mjpg", True)
        follow("/events", True)
    follow("/stream.mjpg", False)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="imfe.onnx")
    parser.add_argument("--head", default="none")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    more = ["--head", options.head]
    kinds = {"no page": (False, 0), "page, nobody": (True, 0), "3 viewers, 1 deaf": (True, 3)}
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for kind in list(kinds)[:: -1 if number % 2 else 1]:  # there and back, so that no kind always comes first
            costs[kind].append(cost(options.video, options.model, more, *kinds[kind]))
    print(f"{'':20}{'frames/s':>10}{'ratio':>8}{'CPU ms a frame':>17}{'ratio':>8}")
    for kind, values in costs.items():
        pairs = list(zip(values, costs["no page"], strict=True))
        rate = statistics.median(value.rate / base.rate for value, base in pairs)
        cpu = statistics.median(value.cpu_ms / base.cpu_ms for value, base in pairs)
        medians = statistics.median(v.rate for v in values), statistics.median(v.cpu_ms for v in values)
        print(f"{kind:20}{medians[0]:10.1f}{rate:8.3f}{medians[1]:17.2f}{cpu:8.3f}")
    print(f"viewers took {sum(value.taken for value in costs['3 viewers, 1 deaf']) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
