"""Shows that two processes of ``torchrun`` distil and extract what one does, and that nothing is lost or done twice."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.recordings import recording
from tests.trainer.engine.test_imfe_training import SMALL
from trainer import checkpoint
from trainer.data.rawframes import clip_indices
from trainer.nets.imfe import Imfe

pytestmark = pytest.mark.slow

D = SMALL.feature_dim
COMMAND = "import sys; from trainer.cli import main; sys.exit(main())"
THREADS = """
import sys
from pathlib import Path
from trainer.cli import main
main()
names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
sys.stdout.write("threads left: " + " ".join(names) + chr(10))
"""
# The gradients of an epoch in batches of two, and the clips that this process read. Norms as in use: with statistics
# of a batch's own, as in training, each process would norm by its own clips, as in the published training.
GRADIENTS = """
import sys, dataclasses, json
from pathlib import Path
import torch
from trainer.data.rawframes import find_videos, with_features
from trainer.engine.distributed import world
from trainer.engine.imfe_distil import Distillation, Student, TeacherClips, gradients, load_batches
from trainer.nets.imfe import Imfe, read_config

class Recorded(TeacherClips):
    read = []
    def __getitem__(self, i):
        self.read.append(i)
        return super().__getitem__(i)

data, out = map(Path, sys.argv[1:])
config = read_config(str(data / "config.json"))
clips = Recorded(with_features(find_videos(data / "rawframes_rgb"), data / "flow"), config.height, config.width)
settings = Distillation(epochs=1, batch=2)
torch.manual_seed(0)
student = Student(Imfe(config), clips.feature_dim).eval()
with world("cpu") as place:
    found = []
    for batch in load_batches(clips, range(len(clips)), settings, place):
        gradients(student, *batch, settings, place)
        found.append(torch.cat([p.grad.flatten() for p in student.parameters()]))
    torch.save({"gradients": found, "read": Recorded.read}, out / f"rank{place.rank}.pt")
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The recorded raw frames as five videos of one to three clips, with rows to learn: nine clips."""
    frames = sorted(recording("rawframes_fixture/imgs/img_00001.jpg").parent.glob("img_*.jpg"))
    rng = np.random.default_rng(0)
    (tmp_path / "flow").mkdir()
    for number, count in enumerate((10, 16, 20, 10, 16)):
        folder = tmp_path / "rawframes_rgb" / f"v{number}"
        folder.mkdir(parents=True)
        for i in range(count):
            shutil.copy(frames[(number + i) % len(frames)], folder / f"img_{i:05d}.jpg")
        rows = rng.standard_normal((len(clip_indices(count)), D)).astype(np.float32)
        np.save(tmp_path / "flow" / f"v{number}.npy", rows)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(SMALL)))
    torch.manual_seed(0)
    net = Imfe(SMALL).eval()
    checkpoint.save(tmp_path / "net.pt", {"model": net.state_dict(), "config": dataclasses.asdict(SMALL)})
    return tmp_path


def torchrun(processes: int, code: str, *args: str) -> str:
    """Run ``code`` in so many processes; what they printed."""
    with_code = ["--no-python", sys.executable, "-c", code, *args]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *with_code], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_gradients_are_those_of_one_process_and_every_clip_is_read_once(data: Path) -> None:
    """Nine clips in batches of two: of the last batch one process has none."""
    found = {}
    for processes in (1, 2):
        out = data / str(processes)
        out.mkdir()
        torchrun(processes, GRADIENTS, str(data), str(out))
        found[processes] = [torch.load(out / f"rank{rank}.pt") for rank in range(processes)]
    (one,), (first, second) = found[1], found[2]
    assert sorted(first["read"] + second["read"]) == one["read"] == list(range(9))
    assert len(one["gradients"]) == len(first["gradients"]) == 5
    for alone, mine, other in zip(one["gradients"], first["gradients"], second["gradients"], strict=True):
        torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other, mine, rtol=0, atol=0)


def test_the_command_trains_in_two_processes_and_writes_one_checkpoint(data: Path) -> None:
    given = ["--rgb", str(data / "rawframes_rgb"), "--features", str(data / "flow"), "--save-path", str(data / "out")]
    printed = torchrun(
        2, COMMAND, "imfe", "train", "2", *given, "--config", str(data / "config.json"), "--batch-size", "4"
    )
    epochs = [line for line in printed.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 2 and all("clips_per_s" in line for line in epochs)
    state = checkpoint.load(data / "out" / "checkpoint-2.pt")
    assert state["epoch"] == 2 and all(bool(value.isfinite().all()) for value in state["model"].values())


def test_no_thread_of_the_group_outlives_a_training(data: Path) -> None:
    """One that does may ask for an interpreter that is ending, which aborts the process."""
    given = ["--rgb", str(data / "rawframes_rgb"), "--features", str(data / "flow"), "--save-path", str(data / "out")]
    printed = torchrun(2, THREADS, "imfe", "train", "1", *given, "--config", str(data / "config.json"))
    assert printed.count("threads left") == 2 and "gloo" not in printed


def test_extraction_shares_the_videos_and_gives_the_rows_of_one_process(data: Path) -> None:
    command = ["imfe", "extract", "--data_dir", str(data), "--checkpoint_path", str(data / "net.pt"), "--device", "cpu"]
    rows, made = {}, {}
    for processes in (1, 2):
        printed = torchrun(processes, COMMAND, *command)
        made[processes] = [int(count) for count in re.findall(r"made (\d+)", printed)]  # two may share a line
        rows[processes] = {file.name: np.load(file) for file in sorted((data / "features").iterdir())}
        shutil.rmtree(data / "features")
    assert made[1] == [5] and sorted(made[2]) == [2, 3]
    assert [len(values) for values in rows[2].values()] == [1, 2, 3, 1, 2]
    for name, values in rows[1].items():
        np.testing.assert_array_equal(rows[2][name], values)
