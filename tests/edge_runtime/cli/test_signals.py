"""Ctrl-C and SIGTERM: whenever they come, what was written is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.edge_runtime.cli.conftest import Inputs
from tests.edge_runtime.sources.clips import write_video

# faulthandler: a run that never begins is ended by SIGABRT, and says where each of its threads stood
COMMAND = [sys.executable, "-X", "faulthandler", "-m", "edge_runtime.cli.run"]
# The promise is two seconds; a machine that also compiles and trains is given more before a test calls it broken.
PATIENCE_S = 20
# From launch to the first event, which nothing promises on a busy machine: 14 s were seen at a load of 24.
LAUNCH_PATIENCE_S = 120


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, **options)


def wait_for(path: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Until ``process`` has written ``text``; one that dies or hangs first is shown with what it said."""
    until = time.monotonic() + LAUNCH_PATIENCE_S
    while not (path.exists() and text in path.read_text()):
        if process.poll() is not None or time.monotonic() > until:
            process.send_signal(signal.SIGABRT)
            _, err = process.communicate(timeout=PATIENCE_S)
            pytest.fail(f"{text} never came, exit {process.returncode}:\n{err.decode()}")
        time.sleep(0.02)


def parse(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def decoded(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    return count


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("long") / "clip.mp4", 6000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_whose_source_blocks(inputs: Inputs, tmp_path: Path, number: signal.Signals) -> None:
    """Shows standard input that says nothing more: the summary is written all the same, and the exit code is 0."""
    out = tmp_path / "out.jsonl"
    process = start("--skeleton", "-", "--model", inputs.skeleton, "--out", out, stdin=subprocess.PIPE)
    assert process.stdin is not None
    sample = json.dumps([[0.1 * i for i in range(5)]] * 3)
    process.stdin.write(f"{sample}\n".encode())
    process.stdin.flush()
    wait_for(out, '"frame": 0', process)
    process.send_signal(number)
    err = wait_and_read(process)
    assert process.returncode == 0, err
    assert parse(out)[-1]["ended_by"] == "signal"
    assert b"captured 1 = processed 1" in err


def wait_and_read(process: subprocess.Popen[bytes]) -> bytes:
    """Standard error of a process whose standard input stays open."""
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(PATIENCE_S)
    return err


def end_at_random(moments: int, inputs: Inputs, clip: Path, folder: Path) -> Counter[str]:
    """Start runs, end each after a random time, check what each wrote; how they ended."""
    chance = random.Random(3)
    ends: Counter[str] = Counter()
    for moment in range(moments):
        out, video = folder / f"{moment}.jsonl", folder / f"{moment}.mp4"
        process = start("--video", clip, "--model", inputs.imfe, "--hop", "1", "--out", out, "--record", video)
        if moment % 4 == 0:  # from its launch on
            time.sleep(chance.uniform(0, 2.5))
            process.send_signal(signal.SIGTERM)
        else:  # from its first event on
            wait_for(out, '"start"', process)
            time.sleep(chance.uniform(0, 0.7))
            process.send_signal(chance.choice([signal.SIGTERM, signal.SIGINT]))
        _, err = process.communicate(timeout=PATIENCE_S)
        assert b"Traceback" not in err, err
        found = parse(out)
        if process.returncode != 0:  # the signal came while the inputs were opened
            assert process.returncode == -signal.SIGTERM
            assert not found and not video.exists()
            ends["before it began"] += 1
            continue
        kinds = Counter(event["event"] for event in found)
        assert kinds["start"] == kinds["summary"] == 1
        summary = found[-1]
        frames = summary["frames"]
        assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
        results = [event["frame"] for event in found if event["event"] == "result"]
        assert results == list(range(5, 5 + summary["results"])), "nothing twice, nothing left out"
        assert decoded(video) >= frames["captured"] if frames["captured"] else not video.exists()
        ends[summary["ended_by"]] += 1
    return ends


def test_whenever_a_signal_comes_what_was_written_is_whole(inputs: Inputs, long_clip: Path, tmp_path: Path) -> None:
    ends = end_at_random(5, inputs, long_clip, tmp_path)
    assert ends["signal"] > 0


@pytest.mark.slow
def test_two_hundred_signals_leave_no_broken_file(inputs: Inputs, long_clip: Path, tmp_path: Path) -> None:
    ends = end_at_random(200, inputs, long_clip, tmp_path)
    assert ends["signal"] > 50


def test_a_reader_that_goes_away_ends_the_run_quietly(inputs: Inputs, long_clip: Path) -> None:
    """``edge-run --out - | head -n 1``"""
    reading, writing = os.pipe()
    process = start("--video", long_clip, "--model", inputs.imfe, "--out", "-", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.readline())["event"] == "start"
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert b"Traceback" not in err and b"output-closed" in err
