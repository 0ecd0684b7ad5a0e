"""Distillation: IMFE learns a teacher's motion features from RGB alone (Wang et al., arXiv 2409.05662).

The published recipe: AdamW at 1e-3, weight decay 0.01, the rate falling by 0.9 five times an epoch, mean squared error.
Every process of ``torchrun`` takes its share of each batch; what a run draws depends on seed and epoch alone, so that a
resumed run ends with the weights of an uninterrupted one.

Mixed precision: the published correlation sums 256 products *before* it divides by 16, in float16 beyond 65,504 as soon
as features exceed 16 in root mean square; one infinite entry, and the loss is NaN. Here the fused pair product stays in
float32 and all else runs in bfloat16, which has float32's range.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.data.rawframes import RawVideo, clip_indices, read_frames
from trainer.engine.distributed import World
from trainer.nets.imfe import Imfe

log = logging.getLogger(__name__)

Loss = Literal["mse", "cosine", "normalised"]
FALLS_PER_EPOCH = 5  # published: ExponentialLR(0.9) stepped about five times an epoch


@dataclass(frozen=True, slots=True)
class Distillation:
    """Settings; the defaults are the published ones."""

    epochs: int
    save_every: int = 1  # epochs
    batch: int = 32  # clips, over all processes
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    gamma: float = 0.9
    loss: Loss = "mse"
    amp: bool = False
    workers: int = 0  # processes that decode
    seed: int = 0


Item = tuple[Tensor, Tensor]  # uint8 clip (6, H, W, 3), teacher row (D,)


class TeacherClips(Dataset[Item | None]):
    """Every clip of every video with its teacher's row; None for one whose frames cannot be read (said once)."""

    def __init__(self, videos: Sequence[tuple[RawVideo, Path]], height: int, width: int) -> None:
        self._videos = list(videos)
        self._index = [(v, c) for v, (video, _) in enumerate(self._videos) for c in range(video.clips)]
        self._size = height, width

    def __len__(self) -> int:
        return len(self._index)

    @property
    def feature_dim(self) -> int:
        """Of the teacher."""
        return int(np.load(self._videos[0][1], mmap_mode="r").shape[1])

    def __getitem__(self, i: int) -> Item | None:
        v, clip = self._index[i]
        video, features = self._videos[v]
        try:
            frames = read_frames(video, list(clip_indices(video.count)[clip]), *self._size)
        except InputError as error:
            log.warning("left out: %s", error)
            return None
        row = np.array(np.load(features, mmap_mode="r")[clip], np.float32)
        return torch.from_numpy(frames), torch.from_numpy(row)


class Student(nn.Module):
    """An IMFE that learns; where the teacher's features are of another width, with a linear map to them.

    The map is thrown away afterwards: a small network learns what a larger one's features tell, in fewer numbers.
    """

    def __init__(self, imfe: Imfe, teacher_dim: int) -> None:
        super().__init__()
        self.imfe = imfe
        width = imfe.config.feature_dim
        self.readout = nn.Identity() if width == teacher_dim else nn.Linear(width, teacher_dim)


def distil(
    net: Imfe,
    training: TeacherClips,
    validation: TeacherClips | None,
    settings: Distillation,
    folder: Path,
    world: World,
    resume: Path | None = None,
    report: Callable[[dict[str, float]], None] = lambda line: log.info("%s", line),
) -> list[dict[str, float]]:
    """Train ``net`` in place; leaves ``folder/checkpoint-N.pt``, which ``trainer imfe export`` and ``extract`` read.

    Returns:
        One line an epoch: loss, validation loss, clips per second.

    Raises:
        InputError: ``resume`` is not a checkpoint of this network.
    """
    student = Student(net, training.feature_dim).to(world.device)
    if isinstance(student.readout, nn.Linear):
        log.info(
            "%d features, the teacher's %d: a linear map lies between", net.config.feature_dim, training.feature_dim
        )
    optimizer = torch.optim.AdamW(student.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    first = _resume(student, optimizer, resume) if resume else 0
    steps = -(-len(training) // settings.batch)
    history = []
    for epoch in range(first, settings.epochs):
        checkpoint.seed_everything(settings.seed, epoch, world.rank)
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(training)).tolist()
        student.train()
        started, total, count = time.monotonic(), 0.0, 0
        for step, (clips, rows) in enumerate(load_batches(training, order, settings, world)):
            falls = (epoch * steps + step) * FALLS_PER_EPOCH // steps
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.gamma**falls
            total += gradients(student, clips, rows, settings, world)
            optimizer.step()
            count += len(clips)
        world.mean_buffers(student)
        seconds = time.monotonic() - started
        seen = sum(world.gather(count))
        line = {"epoch": epoch + 1, "loss": sum(world.gather(total)) / max(seen, 1), "clips_per_s": seen / seconds}
        if validation is not None:
            line["validation_loss"] = _validate(student, validation, settings, world)
        history.append(line)
        if world.is_main:
            report(line)
            if (epoch + 1) % settings.save_every == 0 or epoch + 1 == settings.epochs:
                _save(folder / f"checkpoint-{epoch + 1}.pt", student, optimizer, epoch + 1)
    return history


def _save(path: Path, student: Student, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    net = student.imfe
    state: checkpoint.State = {"model": net.state_dict(), "config": dataclasses.asdict(net.config)}
    training = {"readout": student.readout.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    checkpoint.save(path, state | training)


def _resume(student: Student, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Load weights, and where the file has them the optimizer's state; the epochs done."""
    state = checkpoint.load(path)
    weights = state.get("model", state)
    try:
        student.imfe.load_state_dict(weights)
        if "optimizer" not in state:
            return 0
        student.readout.load_state_dict(state["readout"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        name = student.imfe.config.name
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: not of IMFE '{name}' with a teacher as wide as this one: {reason}") from error
    return int(state["epoch"])


def load_batches(data: TeacherClips, order: Sequence[int], settings: Distillation, world: World) -> Iterator[Item]:
    """This process's part of every batch, in the order given; workers decode ahead."""
    batches = [order[i : i + settings.batch] for i in range(0, len(order), settings.batch)]
    mine = [[int(i) for i in world.share(batch)] for batch in batches]
    # a short last batch may leave a process nothing: it still takes part in the sum of gradients
    loader = DataLoader(
        data,
        batch_sampler=[batch for batch in mine if batch],
        num_workers=settings.workers,
        collate_fn=_collate,
        pin_memory=world.device.type == "cuda",
        persistent_workers=False,
    )
    ready = iter(loader)
    for batch in mine:
        yield next(ready) if batch else _collate([])


def _collate(items: Sequence[Item | None]) -> Item:
    read = [item for item in items if item is not None]
    if not read:
        return torch.empty(0), torch.empty(0)
    return torch.stack([clip for clip, _ in read]), torch.stack([row for _, row in read])


def gradients(student: Student, clips: Tensor, rows: Tensor, settings: Distillation, world: World) -> float:
    """Leave the gradients of a batch in ``student``: of all processes' clips, whichever have none. One call on each.

    The norms' statistics are those of a process's own clips, as in the published training.

    Returns:
        The sum of this process's losses.
    """
    everywhere = sum(world.gather(len(clips)))
    student.zero_grad()
    total = 0.0
    if len(clips):
        loss = batch_loss(student, clips.to(world.device), rows.to(world.device), settings)
        (loss / everywhere).backward()
        total = loss.item()
    world.sum_gradients(student.parameters())
    return total


def batch_loss(student: Student, clips: Tensor, rows: Tensor, settings: Distillation) -> Tensor:
    """Sum over the uint8 clips (B, 6, H, W, 3) of each one's loss against its teacher's row (B, D)."""
    net = student.imfe
    device = clips.device.type
    length = net.config.clip_length
    with torch.autocast(device, torch.bfloat16, enabled=settings.amp):
        frames = net.normalise(clips.flatten(0, 1))
        # channels last: a twentieth less time, an eighth less memory (CPU, base)
        fmaps = net.encode(frames.contiguous(memory_format=torch.channels_last))
    fmaps = fmaps.float().view(len(clips), length, *fmaps.shape[1:])
    pairs = net.pair(fmaps[:, :-1].flatten(0, 1), fmaps[:, 1:].flatten(0, 1))  # (B * pairs, P, h, w)
    with torch.autocast(device, torch.bfloat16, enabled=settings.amp):
        features, _ = net.head(pairs.reshape(len(clips), -1, *pairs.shape[2:]))
    return distance(student.readout(features.float()), rows, settings.loss).sum()


def distance(features: Tensor, teacher: Tensor, kind: Loss) -> Tensor:
    """Of each clip (B,): mean squared error; 1 - cosine; or squared error of the features scaled to length 1."""
    if kind == "cosine":
        return 1 - F.cosine_similarity(features, teacher, dim=1)
    if kind == "normalised":
        return (F.normalize(features, dim=1) - F.normalize(teacher, dim=1)).square().sum(1)
    return (features - teacher).square().mean(1)


@torch.no_grad()
def _validate(student: Student, data: TeacherClips, settings: Distillation, world: World) -> float:
    student.eval()
    total, count = 0.0, 0
    for clips, rows in load_batches(data, range(len(data)), settings, world):
        if len(clips):
            total += batch_loss(student, clips.to(world.device), rows.to(world.device), settings).item()
            count += len(clips)
    totals: list[tuple[float, int]] = world.gather((total, count))
    return sum(loss for loss, _ in totals) / max(sum(n for _, n in totals), 1)
