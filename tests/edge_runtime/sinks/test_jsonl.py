"""JSON Lines: whole lines, at once, whatever the disk does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault, Result
from edge_runtime.sinks import jsonl
from edge_runtime.sinks.jsonl import JsonLines


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_that_can_be_read_at_once(tmp_path: Path) -> None:
    """Shows that nothing waits in a buffer: the file is read while the sink is open."""
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    for n in range(3):
        sink.emit(Fault("test", float(n), {"n": np.int64(n)}))
        assert len(lines(tmp_path / "out.jsonl")) == n + 1
    sink.close()
    assert lines(tmp_path / "out.jsonl")[2] == {"event": "fault", "kind": "test", "t": 2.0, "detail": {"n": 2}}


def test_a_result_has_the_documented_fields(tmp_path: Path) -> None:
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.emit(Result(30, 1.0, "wave", 0.9, (("wave", 0.9), ("none", 0.1)), True, 12.5))
    sink.close()
    assert lines(tmp_path / "out.jsonl") == [
        {
            "event": "result",
            "frame": 30,
            "t": 1.0,
            "label": "wave",
            "score": 0.9,
            "top": [["wave", 0.9], ["none", 0.1]],
            "warm": True,
            "capture_to_result_ms": 12.5,
        }
    ]


def test_a_full_disk_leaves_no_half_line_and_is_recovered_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows the disk full in the middle of a line: what was written of it is taken back."""
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.emit(Fault("before"))
    write, room = os.write, [7]

    def full(file: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        sink.emit(Fault("lost"))
    monkeypatch.undo()
    sink.emit(Fault("after"))
    sink.close()
    assert [line["kind"] for line in lines(tmp_path / "out.jsonl")] == ["before", "after"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a tmpfs of its own needs root")
def test_a_really_full_disk_is_survived(tmp_path: Path) -> None:
    """Shows a tmpfs of 64 KiB filled by others and by us: every line that is there is whole, and it goes on after."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (disk / "others").write_bytes(b"x" * 40_000)
        sink = JsonLines(str(disk / "out.jsonl"), lasting=True)
        failed = 0
        for n in range(2000):
            try:
                sink.emit(Fault("test", float(n)))
            except OSError:
                failed += 1
        there = lines(disk / "out.jsonl")
        assert failed and len(there) + failed == 2000
        (disk / "others").unlink()
        sink.emit(Fault("after"))
        sink.close()
        assert lines(disk / "out.jsonl")[len(there) :] == [{"event": "fault", "kind": "after", "detail": {}}]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_recording_begins_its_file_anew_and_a_live_run_continues_it(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for lasting in (False, True, True):
        sink = JsonLines(str(path), lasting=lasting)
        sink.emit(Fault("run"))
        sink.close()
    assert len(lines(path)) == 3
    JsonLines(str(path)).close()
    assert path.read_text() == ""


def test_half_a_line_left_by_a_power_cut_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"event": "fault", "ki')
    sink = JsonLines(str(path), lasting=True)
    sink.emit(Fault("one"))
    sink.emit(Fault("two"))
    sink.close()
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()[1:]] == ["one", "two"]


def test_a_live_file_is_rotated_and_the_oldest_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that no line is lost or split between two files, that disk use is bounded, and that a restart goes on."""
    monkeypatch.setattr(jsonl, "ROTATE_BYTES", 1000)
    path = tmp_path / "out.jsonl"
    for begin in (0, 50):
        sink = JsonLines(str(path), lasting=True)
        for n in range(begin, begin + 50):
            sink.emit(Fault("test", float(n)))
        sink.close()
    files = [*(tmp_path / f"out.jsonl.{n}" for n in range(jsonl.KEPT, 0, -1)), path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [line["t"] for file in files for line in lines(file)]
    assert kept == [float(n) for n in range(100 - len(kept), 100)]


@pytest.mark.parametrize("target", ["missing/out.jsonl", "."])
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        JsonLines(str(tmp_path / target))
