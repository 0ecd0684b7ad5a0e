"""From recorded joints to weights that ``finetune`` starts from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.data.test_motions import still, write_penn
from tests.trainer.engine.test_imfe_training import SMALL
from trainer import checkpoint
from trainer.cli import main


@pytest.fixture
def motions(tmp_path: Path) -> Path:
    """Two actions in the training and in the test part."""
    clip = still(40)
    lifted = clip.copy()
    lifted[:, 5:7, 1] -= 60 * np.abs(np.sin(np.arange(40) / 5))[:, None].astype(np.float32)
    np.savez(
        tmp_path / "penn_action.npz",
        joints=np.concatenate([clip, lifted] * 2),
        offsets=np.arange(5) * 40,
        ids=np.arange(1, 5),
        action=np.array(["squat", "pullup"] * 2),
        train=np.array([1, 1, -1, -1]),
        dimensions=np.array([(360, 480, 40)] * 4, np.uint16),
    )
    return tmp_path / "penn_action.npz"


def test_drawn_people_become_weights_to_start_from(
    motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"imfe": dataclasses.asdict(SMALL), "head_channels": 8, "head_taps": [2], "batch": 2, "warmup": 2}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    options = ["--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "recipe.json"), "--each", "2"]
    assert main(["imfe", "pretrain", str(motions), *options, "--epochs", "1"]) == 0
    assert "of 20 clips, 2 actions" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "out" / "model.pt")["labels"] == ["pullup", "squat"]
    (line,) = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert {"loss", "flow", "held_out_accuracy"} <= json.loads(line).keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--each", "0"], "--each 0: expected at least 1"),
        (["--backgrounds", "nowhere"], "nowhere: no frame of any video there"),
        (["--recipe", "nowhere.json"], "not a JSON file"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    motions: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["imfe", "pretrain", str(motions), "--out", str(tmp_path / "out"), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_movements_without_any_to_check_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_penn(tmp_path, still(), still())
    assert main(["imfe", "pretrain", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "expected movements of s07, s08, test to check" in capsys.readouterr().err
