"""Shows that the packaged demo does what its card says: it names every action of the demo clip, when it happens."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import accumulate

import pytest

from edge_runtime.models.metadata import ImfeMetadata, RtStgcnMetadata
from edge_runtime.models.zoo import entries, open_model
from edge_runtime.sources.demo import SCRIPT
from edge_runtime.sources.figure.motion import ACTIONS, BACKGROUND


def test_the_packaged_files_are_the_registered_ones_and_speak_of_the_generated_actions():
    imfe, head = open_model("demo").metadata, open_model("demo/rtstgcn.onnx").metadata
    assert set(entries()["demo"].sha256) == {"imfe.onnx", "rtstgcn.onnx"}
    assert isinstance(imfe, ImfeMetadata)
    assert isinstance(head, RtStgcnMetadata)
    assert head.labels == tuple(ACTIONS)
    assert head.background == BACKGROUND


@pytest.mark.slow
def test_edge_run_demo_names_every_action_of_its_clip():
    command = [sys.executable, "-m", "edge_runtime.cli.run", "--demo", "--out", "-"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    segments = [event for event in events if event["event"] == "segment"]
    ends = list(accumulate(act.seconds for act in SCRIPT))
    for act, end in zip(SCRIPT, ends, strict=True):
        if act.action == BACKGROUND:
            continue
        start = end - act.seconds
        covered = sum(
            max(0.0, min(end, segment["end"]) - max(start, segment["start"]))
            for segment in segments
            if segment["label"] == act.action
        )
        assert covered > 0.5 * act.seconds, f"{act.action} from {start} to {end} s: {segments}"
    assert len(segments) <= 2 * len([act for act in SCRIPT if act.action != BACKGROUND])
    frames = events[-1]["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values()) == 900
