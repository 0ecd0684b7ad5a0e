"""Training of IMFE and its head on labelled clips: from decoded videos to weights, resumable at every epoch.

One process and one thread by default: the networks that this trains are small, and so is the data. All randomness of an
epoch is drawn from generators seeded by (seed, epoch), so that a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.data.augment_video import Augmentation, change_light, choose_frames, move_camera
from trainer.data.clips import Clip, Video, runtime_frames
from trainer.data.flow import grid_flow
from trainer.engine.ema import Ema
from trainer.engine.imfe_recogniser import ClipNet, Head, Recogniser, clip_loss, flow_loss, flow_target
from trainer.engine.options import convert
from trainer.engine.schedule import Schedule, set_learning_rate
from trainer.nets.graph import region_grid
from trainer.nets.imfe import CONFIGS, Imfe, ImfeConfig
from trainer.nets.lstr import Lstr, LstrConfig
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

log = logging.getLogger(__name__)
Net = TypeVar("Net", bound=ClipNet)

# What a CPU trains in minutes: a quarter of tiny's work a frame. At 10 frames a second a movement is three times as
# large between two frames as at 30, and sources of 20, 25 and 30 FPS look alike.
CLIP_IMFE = dataclasses.replace(
    CONFIGS["tiny"],
    name="tiny-64",
    height=64,
    width=96,
    encoder=(8, 16, 32),
    region_grid=(2, 3),
    direct=True,
    fps=10.0,
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. The defaults are those of ``models_zoo/ut-interaction``."""

    imfe: ImfeConfig = CLIP_IMFE
    hop: int = 3  # frames between results
    head: Literal["rtstgcn", "lstr"] = "rtstgcn"
    head_channels: int = 64
    head_taps: tuple[int, ...] = (3, 4)  # results that each layer of an RT-ST-GCN sums
    memory: tuple[int, int] = (4, 16)  # results in the short and the long memory of an LSTR
    dropout: float = 0.3
    epochs: int = 45
    batch: int = 8  # clips
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 20  # steps
    clip_norm: float = 2.0  # largest norm of a gradient
    ema: float = 0.99
    smoothing: float = 0.1  # of the labels
    each: float = 0.3  # weight of the single results beside the clip's mean
    flow: float = 0.0  # weight of predicting optical flow beside the label; it brought nothing on these clips
    background_share: float = 0.2  # background clips in an epoch, relative to the others
    frames: tuple[int, int] = (12, 30)  # shortest and longest training clip
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Recipe:
        """From JSON; what is not named keeps its default.

        Raises:
            InputError: an unknown field, or a value of another type.
        """
        raw = dict(raw)
        if isinstance(raw.get("imfe"), dict):
            raw["imfe"] = ImfeConfig.from_dict({**dataclasses.asdict(CLIP_IMFE), **raw["imfe"]})
        if isinstance(raw.get("augmentation"), dict):
            raw["augmentation"] = Augmentation(**_typed(Augmentation, raw["augmentation"], "recipe: augmentation"))
        recipe = cls(**_typed(cls, raw, "recipe"))
        for name in ("hop", "head_channels", "epochs", "batch"):
            if getattr(recipe, name) < 1:
                raise InputError(f"recipe: {name}: expected at least 1, found {getattr(recipe, name)}")
        return recipe


def _typed(cls: type, raw: dict[str, Any], origin: str) -> dict[str, Any]:
    """``raw`` with each value as the dataclass ``cls`` has it."""
    hints = get_type_hints(cls)
    if unknown := sorted(raw.keys() - hints.keys()):
        raise InputError(f"{origin}: no field '{unknown[0]}'; the fields are {', '.join(sorted(hints))}")
    return {
        key: value if type(value) is hints[key] else convert(hints[key], value, f"{origin}: {key}")
        for key, value in raw.items()
    }


class Source(Protocol):
    """What is trained on: labelled clips whose frames are there, or come into being when asked for."""

    @property
    def clips(self) -> Sequence[Clip]:
        """What there is."""

    def draw(self, i: int, rng: np.random.Generator) -> Video:
        """The frames of ``clips[i]``, at least of the network's input size."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Clips with their frames. ``videos[i]`` is at least the network's input size; it belongs to ``clips[i]``."""

    clips: Sequence[Clip]
    videos: Sequence[Video]

    def __post_init__(self) -> None:
        assert len(self.clips) == len(self.videos)

    def draw(self, i: int, rng: np.random.Generator) -> Video:
        """The same at every time: recordings leave nothing to chance."""
        return self.videos[i]


def build(recipe: Recipe, labels: Sequence[str], background: str | None) -> Recogniser:
    """The untrained networks for these classes."""
    head = build_head(recipe, labels, background, recipe.imfe.feature_dim)
    return Recogniser(Imfe(recipe.imfe), head, recipe.hop)


def build_head(recipe: Recipe, labels: Sequence[str], background: str | None, channels: int) -> Head:
    """The recipe's head over image regions of so many channels.

    Raises:
        InputError: sizes that make no network.
    """
    imfe, width = recipe.imfe, recipe.head_channels
    if recipe.head == "lstr":
        short, long = recipe.memory
        return Lstr(
            LstrConfig(
                in_channels=channels,
                num_node=imfe.num_regions,
                labels=tuple(labels),
                fps=imfe.fps / recipe.hop,
                background=background,
                short=short,
                long=long,
                channels=width,
                dropout=recipe.dropout,
            )
        )
    return RtStgcn(
        NetworkConfig(
            in_channels=channels,
            graph=region_grid(*imfe.region_grid),
            labels=tuple(labels),
            layers=tuple(LayerConfig(width, width, taps, dropout=recipe.dropout) for taps in recipe.head_taps),
            fps=imfe.fps / recipe.hop,
            source="regions",
            background=background,
        )
    )


def train(
    net: Net,
    samples: Source,
    recipe: Recipe,
    seed: int,
    folder: Path,
    after_epoch: Callable[[int, Net], dict[str, float]] | None = None,
    batches: Batches | None = None,
) -> Net:
    """Train ``net`` and return its averaged weights. Goes on from ``folder/last.pt`` where that is of the same run.

    Args:
        after_epoch: called with the epoch and the averaged network; what it returns goes into ``folder/log.jsonl``.
        batches: an epoch's, from its random generator; by default of the clips, augmented anew.

    Raises:
        InputError: ``last.pt`` is of another recipe, seed or set of clips.
    """
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = Ema(net, recipe.ema)
    optimizer = torch.optim.AdamW(net.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    identity = json.dumps([dataclasses.asdict(recipe), seed, [f"{c.path.name}:{c.label}" for c in samples.clips]])
    batches = batches or partial(clip_batches, samples, net, recipe)
    numbers = _class_numbers(net, samples)
    steps = len(_order(numbers, net, recipe, np.random.default_rng(0))) // recipe.batch
    if steps < 1:
        raise InputError(f"{len(numbers)} clips are fewer than a batch of {recipe.batch}; add clips")
    schedule = Schedule("cosine", recipe.epochs * steps, recipe.warmup)
    first = _resume(folder / "last.pt", identity, net, ema, optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a" if first else "w", encoding="utf-8") as journal:
        for epoch in range(first, recipe.epochs):
            started = time.monotonic()
            checkpoint.seed_everything(seed, epoch)
            rng = np.random.default_rng([seed, epoch])
            net.train()
            sums: dict[str, float] = {}
            for step, batch in enumerate(batches(rng)):
                set_learning_rate(optimizer, recipe.learning_rate, schedule.factor(epoch * steps + step))
                for key, value in _step(net, optimizer, batch, recipe).items():
                    sums[key] = sums.get(key, 0.0) + value / steps
                ema.update(net)
            line = {"epoch": epoch + 1, **sums, "seconds": time.monotonic() - started}
            if after_epoch is not None:
                line |= after_epoch(epoch + 1, ema.net)
            journal.write(json.dumps({key: round(value, 4) for key, value in line.items()}) + "\n")
            journal.flush()
            log.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in line.items()))
            state = {"net": net.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.save(folder / "last.pt", {"identity": identity, "epoch": epoch + 1, **state})
    return ema.net


def _resume(path: Path, identity: str, net: Net, ema: Ema[Net], optimizer: torch.optim.Optimizer) -> int:
    """Load ``path`` if it is there; the number of epochs done."""
    if not path.is_file():
        return 0
    state = checkpoint.load(path)
    if state.get("identity") != identity:
        raise InputError(f"{path}: a checkpoint of another recipe, seed or set of clips; give another --out folder")
    net.load_state_dict(state["net"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("%s: going on after epoch %d", path, state["epoch"])
    return int(state["epoch"])


@dataclass(frozen=True, slots=True)
class Batch:
    """``clips`` uint8 (T, H, W, 3) each of its own length, ``flows`` (T-1, 2, h, w), ``labels`` (B,)."""

    clips: list[Tensor]
    flows: list[Tensor]
    labels: Tensor


Batches = Callable[[np.random.Generator], Iterator[Batch]]


def _order(numbers: npt.NDArray[np.intp], net: ClipNet, recipe: Recipe, rng: np.random.Generator) -> list[int]:
    """This epoch's clips: every clip of an action once, a share of the background's."""
    background = net.labels.index(net.background) if net.background else -1
    actions, others = np.flatnonzero(numbers != background), np.flatnonzero(numbers == background)
    count = min(len(others), math.ceil(len(actions) * recipe.background_share))
    chosen = np.concatenate([actions, rng.choice(others, count, replace=False)]) if count else actions
    return [int(i) for i in rng.permutation(chosen)]


def _class_numbers(net: ClipNet, samples: Source) -> npt.NDArray[np.intp]:
    return np.array([net.labels.index(clip.label) for clip in samples.clips])


def clip_batches(samples: Source, net: ClipNet, recipe: Recipe, rng: np.random.Generator) -> Iterator[Batch]:
    """An epoch's clips, augmented anew."""
    numbers = _class_numbers(net, samples)
    order = _order(numbers, net, recipe, rng)
    shortest, longest = recipe.frames
    config, augmentation = recipe.imfe, recipe.augmentation
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        chosen = order[start : start + recipe.batch]
        clips, flows = [], []
        for i in chosen:
            video = samples.draw(i, rng)
            frames = video.frames[choose_frames(video, config.fps, augmentation, longest, shortest, rng)]
            frames = move_camera(frames, config.height, config.width, augmentation, rng)
            if recipe.flow:
                flows.append(torch.from_numpy(grid_flow(frames)))
            clips.append(torch.from_numpy(change_light(frames, augmentation, rng)))
        yield Batch(clips, flows, torch.from_numpy(numbers[chosen]))


def _step(net: ClipNet, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe) -> dict[str, float]:
    recognition = net(batch.clips, with_flow=True) if recipe.flow else net(batch.clips)
    weights = torch.ones(len(net.labels))
    loss = clip_loss(recognition, batch.labels, weights, recipe.smoothing, recipe.each)
    accuracy = (recognition.scores.argmax(1) == batch.labels).float().mean()
    result = {"loss": loss.item(), "accuracy": accuracy.item()}
    if recognition.flow is not None:
        target = flow_target(batch.flows, recipe.imfe.clip_length, recipe.hop)
        error = flow_loss(recognition.flow, target)
        result["flow"] = error.item()
        loss = loss + recipe.flow * error
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
    optimizer.step()
    return result


@torch.no_grad()
def clip_scores(net: ClipNet, videos: Sequence[Video]) -> Tensor:
    """Mean probabilities (clips, classes) of whole clips as the runtime shows them; ``net`` in eval mode."""
    return torch.cat([net([torch.from_numpy(v.frames[runtime_frames(v, net.fps)])]).scores for v in videos])


def clip_accuracy(net: ClipNet, samples: Samples) -> dict[str, float]:
    """Share of clips named rightly, the background left out on both sides; and the mean log loss with it."""
    truth = np.array([net.labels.index(clip.label) for clip in samples.clips])
    scores = clip_scores(net, samples.videos).numpy()
    loss = -np.log(scores[np.arange(len(truth)), truth].clip(1e-6)).mean()
    if net.background:
        background = net.labels.index(net.background)
        scores[:, background] = -1
        scores, truth = scores[truth != background], truth[truth != background]
    right = float((scores.argmax(1) == truth).mean()) if len(truth) else math.nan
    return {"held_out_accuracy": right, "held_out_loss": float(loss)}
