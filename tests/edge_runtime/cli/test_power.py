"""What happens to a machine: its process is killed outright, its clock is set back, its disk is full."""

from __future__ import annotations

import email.utils
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.edge_runtime.cli.conftest import Inputs
from tests.edge_runtime.cli.test_watch import Run, camera  # noqa: F401 - a fixture
from tests.edge_runtime.http_camera import HttpCamera

CC = shutil.which("cc")


def lines(path: Path) -> list[dict[str, object]]:
    """Fails on a line that is not whole."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def results(run: Run) -> list[dict[str, object]]:
    return [event for event in lines(run.out) if event["event"] == "result"]


@pytest.mark.slow
def test_a_killed_run_loses_nothing_that_was_emitted(
    camera: HttpCamera,  # noqa: F811
    inputs: Inputs,
    tmp_path: Path,
) -> None:
    """Shows kill -9 and restart, three times: every line is whole, none is lost or repeated, and the page is back."""
    before: list[dict[str, object]] = []
    for _ in range(3):
        run = Run(camera, inputs, tmp_path)
        run.wait_for(lambda: len(lines(run.out)) > len(before) + 8)  # noqa: B023
        run.process.send_signal(signal.SIGKILL)
        run.process.wait()
        after = lines(run.out)
        assert after[: len(before)] == before
        frames = [event["frame"] for event in after[len(before) :] if event["event"] == "result"]
        assert frames == sorted(set(frames))  # type: ignore[type-var]
        before = after
    assert [event["event"] for event in before].count("start") == 3


@pytest.mark.slow
def test_a_killed_run_leaves_recordings_that_play(inputs: Inputs, tmp_path: Path) -> None:
    """Shows kill -9 and restart, four times: each recording is there and lacks no more than its last second.

    Pictures carry their number, so that what is missing is seen against the last result on the disk; a picture or four
    were on their way to the encoder.
    """
    counting, video = HttpCamera([_numbered(n) for n in range(1 << BITS)]), tmp_path / "door.mp4"
    until: list[float] = []
    try:
        for number in range(4):
            run = Run(counting, inputs, tmp_path, "--record", video)
            begun = len(results(run))
            run.wait_for(lambda: len(results(run)) > begun + 10 + 3 * number)  # noqa: B023  # at another part of a second
            until.append(float(results(run)[-1]["t"]))  # type: ignore[arg-type]
            run.process.send_signal(signal.SIGKILL)
            run.process.wait()
    finally:
        counting.down()
    missing = []
    for path, end_t in zip((*(tmp_path / f"door.{n}.mp4" for n in (1, 2, 3)), video), until, strict=True):
        first, last = _first_and_last(path)
        missing.append(end_t - (last - first) / 30)
    print("missing at the end, s:", [round(float(seconds), 2) for seconds in missing])  # noqa: T201 - the figure
    assert max(missing) < 1


BITS = 10


def _numbered(number: int) -> npt.NDArray[np.uint8]:
    """``number`` as black and white columns."""
    columns = [255 * (number >> bit & 1) for bit in range(BITS)]
    return np.repeat(np.tile(np.repeat(np.uint8(columns), 8), (60, 1))[..., np.newaxis], 3, axis=2)


def _first_and_last(path: Path) -> tuple[int, int]:
    """The numbers in a video's first and last picture, between what is drawn over them."""
    capture, numbers = cv2.VideoCapture(str(path)), []
    while True:
        more, picture = capture.read()
        if not more:
            return numbers[0], numbers[-1]
        row = picture[picture.shape[0] // 2, :, 0]
        width = len(row) / BITS
        numbers.append(sum((row[int((bit + 0.5) * width)] > 127) << bit for bit in range(BITS)))


@pytest.mark.slow
@pytest.mark.skipif(CC is None, reason="no C compiler for the other clock: apt-get install gcc libc6-dev")
def test_a_clock_set_back_an_hour_changes_nothing(
    camera: HttpCamera,  # noqa: F811
    inputs: Inputs,
    tmp_path: Path,
) -> None:
    """Shows that results go on, with rising times and latencies of the same order, and that health notices nothing.

    The process sees another wall clock, as after a correction by NTP; the monotonic one is the kernel's.
    """
    clock, shim = tmp_path / "clock", tmp_path / "wall_clock.so"
    clock.write_bytes(bytes(8))
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([str(CC), "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    run = Run(camera, inputs, tmp_path, LD_PRELOAD=str(shim), WALL_CLOCK_OFFSET=str(clock))
    run.wait_for(lambda: run.is_state("ok"))
    count = len(results(run))
    with clock.open("r+b") as offset:  # in place: the process has it mapped
        offset.write((-3600).to_bytes(8, sys.byteorder, signed=True))
    date = run.wait_for(lambda: _date(run))
    run.wait_for(lambda: len(results(run)) > count + 10)
    assert abs(date - (time.time() - 3600)) < 60  # it did see the other time
    assert run.get("/readyz")[0] == 200
    run.end()
    assert run.process.returncode == 0, run.err()
    times = [event["t"] for event in results(run)]
    assert all(a < b for a, b in pairwise(times))  # type: ignore[operator]
    assert all(0 <= event["capture_to_result_ms"] < 60_000 for event in results(run))  # type: ignore[operator]
    assert not [event for event in lines(run.out) if event["event"] == "fault" and event["kind"] == "clock-jump"]


def _date(run: Run) -> float:
    """What the process takes for the time, seconds since 1970, from its web server's Date header."""
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/livez", timeout=10) as answer:
        return email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a tmpfs of its own needs root")
def test_a_full_disk_costs_its_events_and_not_the_run(
    camera: HttpCamera,  # noqa: F811
    inputs: Inputs,
    tmp_path: Path,
) -> None:
    """Shows a disk that fills while a run writes to it: the run goes on, counts what it missed, and resumes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        run = Run(camera, inputs, disk)
        run.wait_for(lambda: run.is_state("ok"))
        filler = (disk / "others").open("wb", buffering=0)
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            filler.close()
        run.wait_for(lambda: 'edge_sink_failed_total{sink="jsonl"} 0' not in run.get("/metrics")[1])
        (disk / "others").unlink()
        count = len(lines(run.out))
        run.wait_for(lambda: len(lines(run.out)) > count + 5)
        run.end()
        assert run.process.returncode == 0
        summary = lines(run.out)[-1]
        assert summary["sinks"]["jsonl"]["failed"] > 0  # type: ignore[index]
        frames = summary["frames"]
        assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())  # type: ignore[index]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
