"""From labelled clips to edge-run, by the commands that the documentation gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_runtime.errors import InputError
from tests.trainer.engine.test_imfe_training import LABELS, SMALL, moving
from trainer import checkpoint
from trainer.cli import main
from trainer.data.clips import decode, find_clips, split_by_group
from trainer.engine.imfe_streamed import accuracy, confusion, name_clip
from trainer.engine.imfe_train import Recipe, build, clip_scores

RECIPE = {
    "imfe": {**dataclasses.asdict(SMALL), "name": "test"},
    "epochs": 2,
    "batch": 2,
    "head_channels": 8,
    "head_taps": [2],
    "frames": [8, 12],
}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three people who go left, right or nowhere, 20 frames a second, as a list with groups."""
    rows = ["path,label,group"]
    for label, direction in zip(LABELS, (-1, 1, 0), strict=True):
        for person in range(3):
            path = tmp_path / f"{label}_{person}.avi"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (60, 40))
            for frame in moving(direction, person, 28).frames:
                writer.write(np.ascontiguousarray(frame))
            writer.release()
            rows.append(f"{path.name},{label},{person}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    return tmp_path


def test_labelled_clips_become_models_that_edge_run_scores_as_torch_does(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, out = clips / "clips.csv", clips / "out"
    options = ["--background", "left", "--hold-out", "2", "--recipe", str(clips / "recipe.json"), "--out", str(out)]
    assert main(["imfe", "finetune", str(listed), *options]) == 0
    assert "held-out clips named rightly" in capsys.readouterr().out
    assert len((out / "log.jsonl").read_text().splitlines()) == 2

    _, held_out = split_by_group(find_clips(listed), ["2"])
    stored = checkpoint.load(out / "model.pt")
    net = build(Recipe.from_dict(RECIPE), stored["labels"], "left").eval()
    net.imfe.load_state_dict(stored["model"])
    net.head.load_state_dict(stored["head"])
    for clip in held_out:
        named = name_clip(clip, out / "imfe.onnx")
        expected = clip_scores(net, [decode(clip.path, SMALL.height, SMALL.width)])[0]
        assert named.results == net.windows(14)  # 28 frames at 20 are 14 at 10 a second
        streamed = torch.tensor([dict(named.totals)[label] / named.results for label in stored["labels"]])
        torch.testing.assert_close(streamed, expected, atol=1e-4, rtol=1e-3)

    assert main(["imfe", "evaluate", str(out), "--clips", str(listed), "--out", str(clips / "scores")]) == 0
    said = capsys.readouterr().out
    assert "of 2 clips" in said and "chance 50.0 %" in said  # the background's clip is left out: the model says which
    assert (clips / "scores" / "confusion.png").is_file()
    scored = (clips / "scores" / "clips.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in scored] == ["label", "none", "right"]

    named = [name_clip(clip, out / "imfe.onnx") for clip in held_out]
    counts = confusion(named, ["right", "none"], "left")
    assert counts.sum() == 2 and counts.trace() / 2 == accuracy(named, "left")


def test_what_cannot_be_scored_is_said(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imfe", "evaluate", str(clips), "--clips", str(clips / "clips.csv")]) == 2
    assert "--groups" in capsys.readouterr().err
    (clips / "split.json").write_text('{"held_out": []}')
    assert main(["imfe", "evaluate", str(clips), "--clips", str(clips / "clips.csv")]) == 2
    assert "trained on every group" in capsys.readouterr().err
    with pytest.raises(InputError, match="edge-run"):
        name_clip(find_clips(clips / "clips.csv")[0], clips / "missing.onnx")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--background", "nothing"], "no such class"),
        (["--hold-out", "9"], "no clip of group '9'"),
        (["--epochs", "0"], "expected at least 1"),
        (["--recipe", "nowhere.json"], "not a JSON file"),
        (["--init", "nowhere.pt"], "nowhere.pt: no such file"),
    ],
)
def test_options_that_cannot_be_used_end_in_one_line(
    clips: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["imfe", "finetune", str(clips / "clips.csv"), "--out", str(clips / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("error: ") == 1
