"""JSON Lines: whole lines, at once, whatever the disk does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault, Result
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


@pytest.mark.parametrize("target", ["missing/out.jsonl", "."])
def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        JsonLines(str(tmp_path / target))
