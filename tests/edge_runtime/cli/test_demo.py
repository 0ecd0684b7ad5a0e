"""Shows that the first command of the README does what it promises, with the packaged model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_runtime.cli.run import main


def test_the_demo_names_the_action_that_the_person_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows a result for every hop, at least one action other than the background, and an exact account."""
    out = tmp_path / "events.jsonl"
    assert main(["--demo", "--max-frames", "240", "--threads", "1", "--out", str(out)]) == 0
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert events[0]["event"] == "start"
    segments = [event["label"] for event in events if event["event"] == "segment"]
    assert set(segments) & {"waving", "jumping-jacks", "squats", "walking", "boxing"}
    frames = events[-1]["frames"]
    assert frames["captured"] == 240 == frames["processed"] + sum(frames["dropped"].values())
    assert "frames   captured 240" in capsys.readouterr().err
