"""Distillation and extraction in the published layout, on made-up frames and on the recorded raw-frame folder."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge_runtime.errors import InputError
from tests.recordings import recording
from tests.trainer.data.test_clips import write_clip
from tests.trainer.engine.test_imfe_training import SMALL
from trainer import checkpoint
from trainer.cli import main
from trainer.data.rawframes import clip_indices, find_videos, with_features
from trainer.engine.imfe_distil import distance
from trainer.export import export_imfe
from trainer.nets.imfe import Imfe, load_imfe

D = SMALL.feature_dim


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two videos of 14 and 20 frames with teacher features, and the network's config."""
    rng = np.random.default_rng(0)
    for name, frames in (("v_a", 14), ("v_b", 20)):
        folder = tmp_path / "rawframes_rgb" / name
        folder.mkdir(parents=True)
        for i in range(frames):
            cv2.imwrite(str(folder / f"img_{i:05d}.jpg"), rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
        (tmp_path / "flow").mkdir(exist_ok=True)
        rows = rng.standard_normal((len(clip_indices(frames)), D)).astype(np.float32)
        np.save(tmp_path / "flow" / f"{name}.npy", rows)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL)))
    return tmp_path


def train(data: Path, out: str, epochs: int, *more: str) -> int:
    given = ["--rgb", str(data / "rawframes_rgb"), "--features", str(data / "flow"), "--save-path", str(data / out)]
    given += ["--config", str(data / "config.json"), "--batch-size", "5"]
    return main(["imfe", "train", str(epochs), *given, *more])


def test_clips_are_the_published_ones() -> None:
    np.testing.assert_array_equal(clip_indices(14), [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])
    np.testing.assert_array_equal(clip_indices(11)[-1], [7, 8, 9, 9, 9, 9])  # clipped to the last but one
    assert len(clip_indices(4)) == 0 and len(clip_indices(5)) == 1


@pytest.mark.parametrize("more", [(), ("--amp",), ("--loss", "cosine"), ("--loss", "normalised")])
def test_the_loss_falls(data: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]) -> None:
    assert train(data, "out", 12, *more) == 0
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 12 and losses[-1] < 0.9 * losses[0]


def test_a_resumed_run_ends_with_the_same_weights(data: Path) -> None:
    assert train(data, "whole", 4) == 0
    assert train(data, "cut", 2) == 0
    assert train(data, "cut", 4, "--ckpt", str(data / "cut" / "checkpoint-2.pt")) == 0
    whole, cut = (checkpoint.load(data / run / "checkpoint-4.pt")["model"] for run in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, atol=0, rtol=0, msg=name)


def test_what_does_not_fit_is_named_and_left_out(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(data / "flow" / "v_a.npy", np.zeros((7, D), np.float32))
    (data / "rawframes_rgb" / "empty").mkdir()
    with caplog.at_level(logging.WARNING):
        kept = with_features(find_videos(data / "rawframes_rgb"), data / "flow")
    assert [video.name for video, _ in kept] == ["v_b"]
    assert "its video has 2 clips" in caplog.text and "empty has 0 frames" in caplog.text
    shutil.rmtree(data / "flow")
    with pytest.raises(InputError, match="one row a clip"):
        with_features(find_videos(data / "rawframes_rgb"), data / "flow")


def test_an_unreadable_frame_costs_its_clip_only(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "rawframes_rgb" / "v_a" / "img_00003.jpg").write_bytes(b"not a picture")
    with caplog.at_level(logging.WARNING):
        assert train(data, "out", 1) == 0
    assert "img_00003.jpg: not a readable picture" in caplog.text


def test_a_larger_network_teaches_a_smaller_one(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows the family's way: a larger IMFE's features as rows, more of them than the student has, and resumable."""
    torch.manual_seed(1)
    larger = dataclasses.replace(SMALL, name="larger", head=((1, 4), (1, 2 * SMALL.head[1][1])))
    assert larger.feature_dim == 2 * D
    state = {"model": Imfe(larger).state_dict(), "config": dataclasses.asdict(larger)}
    checkpoint.save(data / "larger.pt", state)
    assert main(["imfe", "extract", "--data_dir", str(data), "--checkpoint_path", str(data / "larger.pt")]) == 0
    shutil.rmtree(data / "flow")
    (data / "features").rename(data / "flow")
    capsys.readouterr()
    assert train(data, "whole", 12) == 0
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < 0.5 * losses[0]
    assert train(data, "cut", 6) == 0
    assert train(data, "cut", 12, "--ckpt", str(data / "cut" / "checkpoint-6.pt")) == 0
    whole, cut = (checkpoint.load(data / run / "checkpoint-12.pt")["model"] for run in ("whole", "cut"))
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, atol=0, rtol=0, msg=name)
    load_imfe(data / "whole" / "checkpoint-12.pt")  # without the map


def test_a_checkpoint_of_another_teacher_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(data, "out", 1) == 0
    for name, clips in (("v_a", 2), ("v_b", 3)):
        np.save(data / "flow" / f"{name}.npy", np.zeros((clips, 2048), np.float32))
    capsys.readouterr()
    assert train(data, "other", 2, "--ckpt", str(data / "out" / "checkpoint-1.pt")) == 2
    assert "with a teacher as wide as this one" in capsys.readouterr().err


def test_distances_are_zero_at_the_teacher() -> None:
    x = torch.randn(3, 8)
    for kind in ("mse", "cosine", "normalised"):
        torch.testing.assert_close(distance(x, x, kind), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(distance(2 * x, x, "cosine"), torch.zeros(3), atol=1e-6, rtol=0)


def test_extraction_is_the_same_with_and_without_torch_and_goes_on(data: Path) -> None:
    torch.manual_seed(0)
    net = Imfe(SMALL).eval()
    checkpoint.save(data / "net.pt", {"model": net.state_dict(), "config": dataclasses.asdict(SMALL)})
    export_imfe(net, data / "imfe.onnx")
    command = ["imfe", "extract", "--data_dir", str(data), "--regions", "--checkpoint_path"]
    assert main([*command, str(data / "net.pt")]) == 0
    made = {file.name: np.load(file) for file in sorted((data / "features").glob("*.npy"))}
    assert {name: values.shape for name, values in made.items()} == {
        "v_a.npy": (2, D),
        "v_a.regions.npy": (2, D, 2),
        "v_b.npy": (3, D),
        "v_b.regions.npy": (3, D, 2),
    }
    (data / "features" / "v_b.npy").unlink()
    before = (data / "features" / "v_a.npy").stat().st_mtime_ns
    assert main([*command, str(data / "imfe.onnx")]) == 0
    assert (data / "features" / "v_a.npy").stat().st_mtime_ns == before
    np.testing.assert_allclose(np.load(data / "features" / "v_b.npy"), made["v_b.npy"], rtol=1e-3, atol=1e-4)


def test_the_recorded_raw_frames_are_read(tmp_path: Path) -> None:
    frames = recording("rawframes_fixture/imgs/img_00001.jpg").parent
    shutil.copytree(frames, tmp_path / "rawframes_rgb" / "clip")
    (video,) = find_videos(tmp_path / "rawframes_rgb")
    assert (video.count, video.clips) == (10, 1)


def test_a_teacher_is_made_from_labelled_clips_and_its_rows_fit(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From nothing but clips to a distillation: teach, then train."""
    for label in ("wave", "jump"):
        for i in range(4):
            write_clip(data / "clips" / label / f"{label}{i}.avi", frames=20)
    (data / "recipe.json").write_text(json.dumps({"batch": 2, "head_channels": 8, "head_taps": [2], "frames": [8, 12]}))
    options = ["--out", str(data / "teacher"), "--recipe", str(data / "recipe.json"), "--epochs", "1"]
    options += ["--rgb", str(data / "rawframes_rgb"), "--features", str(data / "taught")]
    assert main(["imfe", "teach", str(data / "clips"), "--config", str(data / "config.json"), *options]) == 0
    assert "made 2" in capsys.readouterr().out
    assert np.load(data / "taught" / "v_b.npy").shape == (3, D)
    shutil.rmtree(data / "flow")
    (data / "taught").rename(data / "flow")
    assert train(data, "out", 1) == 0
