"""The trace: every stage of every frame in the format that Perfetto and Chrome read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault, Features, Result, Segment, Start
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report import trace as module
from edge_runtime.report.trace import Trace

MS = 1_000_000


def entries(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text()))


def test_stages_nest_on_the_network_and_queues_overlap(tmp_path: Path) -> None:
    """Shows that a stage has its start, its length and its frame, and a wait in a queue a begin and an end."""
    times = StageTimes()
    trace = Trace(tmp_path / "t.json", times)
    trace.emit(Start("0.1.0", "camera 0", {}, ("kick",), 6, 30.0, "block"))
    times.tell("capture", 10 * MS, 14 * MS, 4)
    times.tell("imfe.encoder", 14 * MS, 24 * MS, 4)
    times.tell("capture", 12 * MS, 24 * MS, 5)
    trace.emit(Result(4, 0.13, "kick", 0.8, (("kick", 0.8),), True, 14.0))
    trace.close()
    everything = entries(tmp_path / "t.json")
    assert {"labels": "camera 0"} in [entry["args"] for entry in everything]
    found = [entry for entry in everything if entry["ph"] != "M"]
    assert [(e["name"], e["ph"], e["ts"], e.get("id", e["args"].get("frame"))) for e in found] == [
        ("capture", "b", 10_000, 4),
        ("capture", "e", 14_000, 4),
        ("capture", "b", 12_000, 5),
        ("capture", "e", 24_000, 5),
        ("imfe.encoder", "X", 14_000, 4),
        ("kick", "i", 24_000, 4),
    ]
    assert found[4]["dur"] == 10_000


def test_what_comes_after_the_last_event_is_written_at_the_end(tmp_path: Path) -> None:
    times = StageTimes()
    trace = Trace(tmp_path / "t.json", times)
    times.tell("imfe.encoder", 0, MS, 0)
    trace.close()
    assert entries(tmp_path / "t.json")[-1]["name"] == "imfe.encoder"


def test_faults_and_features_are_marked_and_segments_are_not(tmp_path: Path) -> None:
    times = StageTimes()
    trace = Trace(tmp_path / "t.json", times)
    trace.emit(Fault("degraded", 1.0, {"reason": "late"}))
    trace.emit(Features(3, 0.1, (1.0,), 9.0))
    trace.emit(Segment("kick", 0, 1, 0.5))
    trace.close()
    marks = [entry for entry in entries(tmp_path / "t.json") if entry["ph"] == "i"]
    assert [mark["name"] for mark in marks] == ["degraded", "features"]
    assert marks[0]["args"] == {"reason": "late"}


def test_a_trace_that_no_sink_thread_empties_is_bounded_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    times = StageTimes()
    trace = Trace(tmp_path / "t.json", times)
    for frame in range(25):
        times.tell("imfe.encoder", frame, frame + 1, frame)
    trace.close()
    found = entries(tmp_path / "t.json")
    assert [e["args"]["frame"] for e in found if e["ph"] == "X"] == list(range(15, 25))
    assert found[-1]["name"] == "15 spans left out"


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--trace .*: No such file or directory; name a file that can be written"):
        Trace(tmp_path / "none" / "t.json", StageTimes())
