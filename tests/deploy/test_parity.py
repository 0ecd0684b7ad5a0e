"""What is said of another machine's results: the same, nearly a tie, or not the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "parity.py"


def parity(*arguments: object) -> tuple[int, str]:
    ran = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout


@pytest.mark.slow
def test_a_machine_agrees_with_itself_and_a_difference_is_found(tmp_path: Path) -> None:
    """Shows the packaged models against their own reference, and then against one that is off by 0.01."""
    reference = tmp_path / "reference.npz"
    assert parity("reference", reference)[0] == 0
    code, said = parity("check", reference)
    assert code == 0
    assert said.count("same  ") == said.count("\n") == 6
    with np.load(reference) as arrays:
        changed = dict(arrays)
    changed["demo/imfe.onnx logits"] = changed["demo/imfe.onnx logits"] + np.float32(0.01)
    np.savez(reference, **changed)
    code, said = parity("check", reference)
    assert code == 1
    assert "NOT THE SAME  demo/imfe.onnx logits" in said
    assert said.count("NOT THE SAME") == 1


def run(path: Path, *tops: list[tuple[str, float]]) -> Path:
    events = [{"event": "result", "frame": frame, "top": top} for frame, top in enumerate(tops)]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in [{"event": "start"}, *events]))
    return path


def test_a_near_tie_may_be_named_either_way_and_nothing_else_may(tmp_path: Path) -> None:
    clear, tie = [("wave", 0.9), ("none", 0.1)], [("wave", 0.51), ("none", 0.49)]
    here = run(tmp_path / "here", clear, tie)
    code, said = parity("labels", here, run(tmp_path / "there", clear, [("none", 0.501), ("wave", 0.499)]))
    assert code == 0
    assert "frame 1: here wave 0.5100, none 0.4900; there none 0.5010, wave 0.4990" in said
    assert "1 of 2 labels, 1 near ties" in said
    assert parity("labels", here, run(tmp_path / "there", [("none", 0.9), ("wave", 0.1)], tie))[0] == 1
    assert parity("labels", here, run(tmp_path / "there", clear))[0] == 1
