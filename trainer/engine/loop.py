"""Train a frame-wise network: epochs, effective batches, averaging, early stopping, and resuming exactly.

Every random choice is drawn from a generator seeded by what identifies it (the run's seed, the epoch or step, the
trial's place in the batch), never from a running one. So a run that was killed goes on as if it had not been, and a
run of many processes makes the choices of a run of one.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.data.augment import augment, crop
from trainer.data.skeletons import Trial, TrialSet
from trainer.engine.distributed import World
from trainer.engine.ema import Ema
from trainer.engine.options import OptimizerOptions, TrainingOptions
from trainer.engine.schedule import Schedule, set_learning_rate
from trainer.engine.segments import Passes, accumulate, predict
from trainer.losses import class_weights
from trainer.metrics import Scores
from trainer.nets.int8 import train_for_int8
from trainer.nets.network import GraphNetwork

log = logging.getLogger(__name__)

SAVE_EVERY_S = 300.0  # what a kill may cost
LAST, BEST = "last.pt", "best.pt"


@dataclass(slots=True)
class Progress:
    """Where a run stands; all of it is in the checkpoint."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches of the current one finished
    step: int = 0  # optimizer steps
    loss_sum: float = 0.0
    trials: int = 0
    seconds: float = 0.0  # training time so far, over all its runs
    best: float = -math.inf
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    net: GraphNetwork,
    train_set: TrialSet,
    val_set: TrialSet | None,
    options: TrainingOptions,
    world: World,
    *,
    resume: bool = False,
    fps: float | None = None,
    stamp: dict[str, Any] | None = None,
) -> Progress:
    """Train ``net`` in place and leave ``last.pt``, ``best.pt``, ``history.csv`` and TensorBoard's files in the out
    folder.

    Args:
        resume: go on from ``last.pt``.
        fps: frames a second, for the metrics that are times.
        stamp: what else a checkpoint says of itself (the configuration, the labels).

    Raises:
        InputError: a checkpoint to resume from that is missing or of another configuration; an unknown ``monitor``.
    """
    run = _Run(net, train_set, val_set, options, world, fps, stamp or {})
    if resume:
        run.restore()
    run.train()
    return run.progress


def evaluate(net: GraphNetwork, trials: TrialSet, passes: Passes, world: World, scores: Scores) -> Scores:
    """Score ``net`` on every trial, shared out among the processes; all of them get the whole result."""
    net.eval()
    for index in world.share(range(len(trials))):
        trial = trials[index]
        scores.add(predict(net, trial.features, passes), trial.labels)
    merged, *others = world.gather(scores)
    for other in others:
        merged.merge(other)
    return merged  # type: ignore[no-any-return]


def batches(trials: TrialSet, options: OptimizerOptions, epoch: int) -> list[list[int]]:
    """Indices of the trials of each optimizer step of an epoch; the last step may have fewer.

    With ``crop`` a trial comes as often as it has crops (a fraction: with that probability), so that an epoch sees
    each frame about once.
    """
    rng = np.random.default_rng((options.seed, epoch))
    order = np.arange(len(trials))
    if options.crop:
        pieces = np.array([len(source.labels) / options.crop for source in trials.sources]).clip(min=1)
        order = np.repeat(order, np.floor(pieces + rng.random(len(pieces))).astype(np.int64))
    order = rng.permutation(order)
    return [order[i : i + options.batch_size].tolist() for i in range(0, len(order), options.batch_size)]


class _Run:
    """A training under way."""

    def __init__(
        self,
        net: GraphNetwork,
        train_set: TrialSet,
        val_set: TrialSet | None,
        options: TrainingOptions,
        world: World,
        fps: float | None,
        stamp: dict[str, Any],
    ) -> None:
        o = options.optimizer
        self.net, self.train_set, self.val_set, self.options, self.world = net, train_set, val_set, options, world
        self.fps, self.stamp = fps, stamp
        if o.qat:
            train_for_int8(net)
        self.optimizer = _optimizer(net, o)
        self.ema = Ema(net, o.ema) if o.ema else None
        self.weights = class_weights(torch.from_numpy(train_set.frames_per_class()), o.class_weights).to(world.device)
        self.passes = Passes(options.segment, o.every, o.amp, world.device)
        self.progress = Progress()
        steps = sum(len(batches(train_set, o, epoch)) for epoch in range(o.epochs))
        per_epoch = max(1, steps // max(1, o.epochs))
        self.schedule = Schedule(
            o.schedule, steps, round(o.warmup * per_epoch), decay=o.learning_rate_decay, steps_per_epoch=per_epoch
        )
        self.out = options.data.out

    @property
    def averaged(self) -> GraphNetwork:
        """The network that is tested and kept."""
        return self.ema.net if self.ema else self.net

    def train(self) -> None:
        o, p = self.options.optimizer, self.progress
        writer = SummaryWriter(str(self.out / "tensorboard"), purge_step=p.epoch) if self.world.is_main else None
        while p.epoch < o.epochs and not self._stalled():
            self._epoch()
            record = {"epoch": p.epoch, "loss": p.loss_sum / max(1, p.trials), "seconds": round(p.seconds, 1)}
            record["learning_rate"] = self.optimizer.param_groups[0]["lr"]
            if self.val_set is not None and (p.epoch % o.test_every == 0 or p.epoch == o.epochs):
                record |= self._validate()
            p.history.append(record)
            improved = self._improved(record)
            if self.world.is_main:
                self._report(record, writer)
            p.batch, p.loss_sum, p.trials = 0, 0.0, 0
            if self.world.is_main:
                for name in (BEST, LAST) if improved else (LAST,):
                    self.save(name)
        if writer:
            writer.close()

    def _epoch(self) -> None:
        """The batches that the epoch has left."""
        o, p = self.options.optimizer, self.progress
        self.net.train()
        todo = batches(self.train_set, o, p.epoch)
        started = saved = time.monotonic()
        before = p.seconds
        bar = tqdm(todo[p.batch :], f"epoch {p.epoch + 1}/{o.epochs}", leave=False, disable=None)
        for batch in bar:
            set_learning_rate(self.optimizer, o.learning_rate, self.schedule.factor(p.step))
            loss = self._step(batch)
            p.loss_sum += loss
            p.trials += len(batch)
            p.batch += 1
            p.step += 1
            p.seconds = before + time.monotonic() - started
            bar.set_postfix(loss=f"{loss / len(batch):.3f}")
            if self.world.is_main and time.monotonic() - saved > SAVE_EVERY_S:
                self.save(LAST)
                saved = time.monotonic()
        p.epoch += 1

    def _step(self, batch: Sequence[int]) -> float:
        """One optimizer step on a global batch; the sum of its trials' losses."""
        o = self.options.optimizer
        self.optimizer.zero_grad()
        loss = 0.0
        for places, features, labels in self._groups(batch):
            checkpoint.seed_everything(o.seed, self.progress.step, places[0])
            loss += accumulate(self.net, features, labels, self.options.loss, self.weights, self.passes, 1 / len(batch))
        self.world.sum_gradients(self.net.parameters())
        if o.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), o.clip_norm)
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.net)
        return float(sum(self.world.gather(loss)))

    def _groups(self, batch: Sequence[int]) -> Iterator[tuple[list[int], npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """This process's trials of a batch: places in the batch, features (N, C, L, V), labels (N, L)."""
        o = self.options.optimizer
        size = o.together if o.crop else 1
        groups = [list(range(i, min(i + size, len(batch)))) for i in range(0, len(batch), size)]
        for places in self.world.share(groups):
            trials = [self._prepared(batch[place], place) for place in places]
            yield places, np.stack([x for x, _ in trials]), np.stack([y for _, y in trials])

    def _prepared(self, index: int, place: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """One trial as this step sees it: changed at random, cut."""
        o, how = self.options.optimizer, self.options.augment
        rng = np.random.default_rng((o.seed, self.progress.step, place))
        trial: Trial = self.train_set[index]
        x, y = trial.features, trial.labels
        if o.crop:  # a little more than needed: a time-warp may shorten it
            x, y = crop(x, y, min(x.shape[1], round(o.crop * 1.3)), rng, o.lead) if x.shape[1] > o.crop else (x, y)
        x, y = augment(x, y, how, rng)
        return crop(x, y, o.crop, rng, o.lead) if o.crop else (x, y)

    def _validate(self) -> dict[str, float]:
        assert self.val_set is not None
        self.world.mean_buffers(self.averaged)
        scores = Scores(self.val_set.classes, self.fps, self.options.data.iou_threshold, self.net.delay)
        passes = Passes(self.options.segment, 1, self.passes.autocast, self.world.device)
        return evaluate(self.averaged, self.val_set, passes, self.world, scores).result()

    def _improved(self, record: dict[str, float]) -> bool:
        """Note a better epoch. Without validation the last one is the best."""
        p, monitor = self.progress, self.options.optimizer.monitor
        if self.val_set is None:
            p.best_epoch = p.epoch
            return True
        if "accuracy" not in record:
            return False
        if monitor not in record:
            raise InputError(f"optimizer.monitor: unknown metric '{monitor}'; there are {', '.join(record)}")
        if record[monitor] > p.best:
            p.best, p.best_epoch = record[monitor], p.epoch
            return True
        return False

    def _stalled(self) -> bool:
        patience = self.options.optimizer.patience
        return bool(patience) and self.progress.epoch - self.progress.best_epoch >= patience

    def _report(self, record: dict[str, float], writer: SummaryWriter | None) -> None:
        shown = ("loss", "accuracy", "edit", "f1@50", "pooled_f1@50", "seconds")
        log.info("epoch %d: %s", record["epoch"], "  ".join(f"{k} {record[k]:.4g}" for k in shown if k in record))
        write_history(self.out / "history.csv", self.progress.history)
        if writer:
            for key, value in record.items():
                writer.add_scalar(key, value, int(record["epoch"]))

    def save(self, name: str) -> None:
        """Write a checkpoint that a test loads and a training resumes from."""
        training = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "progress": {name: getattr(self.progress, name) for name in Progress.__slots__},
            "schedule_steps": self.schedule.steps,
        }
        weights = {key: value.detach().cpu() for key, value in self.averaged.state_dict().items()}
        checkpoint.save(self.out / name, {"model_state_dict": weights, **self.stamp, "training": training})

    def restore(self) -> None:
        """Go on from ``last.pt``."""
        file = self.out / LAST
        state = checkpoint.load(file).get("training")
        if state is None:
            raise InputError(f"{file}: holds no training to resume; it was made for testing only")
        if state["schedule_steps"] != self.schedule.steps:
            raise InputError(
                f"{file}: was trained for {state['schedule_steps']} steps, this configuration makes it "
                f"{self.schedule.steps}; resume with the same configuration and data"
            )
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema:
                self.ema.load_state_dict(state["ema"])
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{file}: does not fit this configuration: {str(error).splitlines()[0]}") from error
        self.progress = Progress(**state["progress"])


def transfer(net: GraphNetwork, weights: Path) -> tuple[int, int]:
    """Load what fits ``net`` from another network's checkpoint; how many tensors did, of how many.

    Raises:
        InputError: no checkpoint, or nothing in it fits.
    """
    stored = checkpoint.load(weights)
    stored = stored.get("model_state_dict", stored)
    own = net.state_dict()
    fitting = {
        name: value
        for name, value in stored.items()
        if name in own and getattr(value, "shape", None) == own[name].shape
    }
    if not fitting:
        raise InputError(f"{weights}: none of its tensors fits this network")
    net.load_state_dict(fitting, strict=False)
    return len(fitting), len(own)


def _optimizer(net: GraphNetwork, o: OptimizerOptions) -> torch.optim.Optimizer:
    if o.kind == "adamw":
        return torch.optim.AdamW(net.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)
    return torch.optim.Adam(net.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)


def write_history(file: Path, history: Sequence[dict[str, float]]) -> None:
    """One line an epoch."""
    columns = list(dict.fromkeys(key for record in history for key in record))
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)
    partial.replace(file)
