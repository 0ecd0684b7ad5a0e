"""The published teacher: a TSN under mmaction2's names, flow given or computed, rows that a distillation takes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_runtime.errors import InputError
from tests.recordings import recording
from tests.trainer.engine.test_imfe_training import SMALL
from trainer import checkpoint
from trainer.cli import main
from trainer.data.flow import flow_pictures
from trainer.data.rawframes import find_videos
from trainer.nets.tsn import FlowTsn, load_tsn

STILL = 128


@pytest.fixture(scope="module")
def tsn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the names and shapes of mmaction2's and random weights."""
    torch.manual_seed(0)
    state = FlowTsn().state_dict() | {"cls_head.fc_cls.weight": torch.zeros(200, 2048)}
    path = tmp_path_factory.mktemp("tsn") / "tsn_flow.pth"
    checkpoint.save(path, {"meta": {"epoch": 150}, "state_dict": state})
    return path


def pan(folder: Path, frames: int = 14, step: int = 2) -> Path:
    """A textured picture that moves ``step`` pixels a frame to the right."""
    texture = cv2.resize(np.random.default_rng(0).integers(0, 256, (40, 80), dtype=np.uint8), (320, 160))
    folder.mkdir(parents=True)
    for t in range(frames):
        cv2.imwrite(str(folder / f"img_{t:05d}.jpg"), texture[:, 60 - step * t : 60 - step * t + 200])
    return folder


def test_the_names_are_those_of_mmaction2() -> None:
    """``ResNet`` with ``ConvModule`` s: its ``conv1.conv``, its ``layer1.0.downsample.bn``; 10 flow channels."""
    shapes = {name: tuple(value.shape) for name, value in FlowTsn().state_dict().items()}
    assert shapes["backbone.conv1.conv.weight"] == (64, 10, 7, 7)
    assert shapes["backbone.layer1.0.downsample.bn.running_var"] == (256,)
    assert shapes["backbone.layer4.2.conv3.conv.weight"] == (2048, 512, 1, 1)
    convolutions = sum(np.prod(shape) for name, shape in shapes.items() if "conv.weight" in name)
    assert convolutions == 23_454_912 + 64 * 7 * 7 * 7  # ResNet-50's, and seven more input channels


def test_a_pan_is_seen_in_x_alone(tmp_path: Path) -> None:
    pan(tmp_path / "v")
    (video,) = find_videos(tmp_path)
    pictures = flow_pictures(video, 112)
    assert pictures.shape == (2, 10, 112, 112) and pictures.dtype == np.uint8
    x, y = np.median(pictures[:, 0::2]), np.median(pictures[:, 1::2])
    enlarged = 2 * 128 / 160  # pixels a frame at the size that flow is computed at
    assert x - STILL == pytest.approx(enlarged * 255 / 40, abs=2)
    assert abs(y - STILL) <= 1


def test_given_pictures_are_taken_in_their_order_and_the_last_one_stands_for_the_rest(tmp_path: Path) -> None:
    folder = pan(tmp_path / "v")
    for i in range(9):
        for axis, offset in (("x", 0), ("y", 100)):
            cv2.imwrite(str(folder / f"{axis}_{i:05d}.jpg"), np.full((40, 60), offset + 5 * i, np.uint8))
    (video,) = find_videos(tmp_path)
    seen = flow_pictures(video, 28).mean((2, 3)).round()
    # clips are frames 1 to 6 and 7 to 12: flow 1 to 5 and 7 to 11, of which 8 is the last there is
    assert seen[0].tolist() == [5, 105, 10, 110, 15, 115, 20, 120, 25, 125]
    assert seen[1].tolist() == [35, 135, *[40, 140] * 4]
    (folder / "y_00008.jpg").unlink()
    with pytest.raises(InputError, match=r"9 flow pictures x_\*\.jpg and 8 y_"):
        flow_pictures(video, 28)


@pytest.mark.slow
def test_the_published_layout_becomes_rows_that_a_distillation_takes(
    tsn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recorded raw frames with their flow pictures -> 2048 numbers a clip -> an epoch of training."""
    frames = recording("rawframes_fixture/imgs/img_00001.jpg").parent
    shutil.copytree(frames, tmp_path / "rawframes_rgb" / "clip")
    options = ["--rgb", str(tmp_path / "rawframes_rgb"), "--features", str(tmp_path / "flow")]
    assert main(["imfe", "teach-tsn", "--tsn", str(tsn), *options]) == 0
    assert "made 1" in capsys.readouterr().out
    rows = np.load(tmp_path / "flow" / "clip.npy")
    assert rows.shape == (1, 2048) and rows.dtype == np.float32
    (video,) = find_videos(tmp_path / "rawframes_rgb")
    with torch.inference_mode():
        expected = load_tsn(tsn)(torch.from_numpy(flow_pictures(video, 224)))
    np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-3, atol=1e-5)
    wide = dataclasses.replace(SMALL, head=((1, 8), (1, 512)))  # as wide as the teacher
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(wide)))
    student = ["--config", str(tmp_path / "config.json"), "--save-path", str(tmp_path / "out"), "--batch-size", "1"]
    assert main(["imfe", "train", "1", *options, *student]) == 0
    assert (tmp_path / "out" / "checkpoint-1.pt").is_file()


def test_a_checkpoint_of_rgb_pictures_is_refused_in_one_line(
    tsn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = checkpoint.load(tsn)["state_dict"]
    state["backbone.conv1.conv.weight"] = torch.zeros(64, 3, 7, 7)
    checkpoint.save(tmp_path / "rgb.pth", {"state_dict": state})
    pan(tmp_path / "videos" / "v")
    options = ["--rgb", str(tmp_path / "videos"), "--features", str(tmp_path / "flow")]
    assert main(["imfe", "teach-tsn", "--tsn", str(tmp_path / "rgb.pth"), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "'backbone.conv1.conv.weight' has shape (64, 3, 7, 7)" in line
