"""Train the demo model, an IMFE of 64 x 80 pixels with its RT-ST-GCN head, on generated people.

    python -m models_zoo.demo.train --out runs/demo      a quarter of an hour of one core

1. The IMFE on clips of six frames: whose action is it? Two clips a person, mirrored at random.
2. Both networks along a stream, from zero state: a new person for every clip, who does one action and then another,
   each result labelled with the action at its clip's last frame (none within ``BLEND_S`` of a change).

People are seeds below ``HELD_OUT_SEEDS``; ``models_zoo.demo.evaluate`` measures on those from there on.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.models.metadata import Provenance
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sources.demo import HELD_OUT_SEEDS, Act, frames_of, render
from edge_runtime.sources.figure.motion import ACTIONS, BACKGROUND, Manner
from edge_runtime.sources.figure.scene import Scene
from trainer.engine.imfe_recogniser import Recogniser
from trainer.export import export_imfe, export_rtstgcn
from trainer.nets.graph import region_grid
from trainer.nets.imfe import Imfe, ImfeConfig
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

LABELS = tuple(ACTIONS)
FPS = 15.0  # half a camera's: the fastest of the actions repeats twice a second
HOP = 3  # frames from one result to the next: 0.2 s
CLIP_S = 3.2
BLEND_S = 0.6
RENDERED = (160, 120)  # twice the network's picture: the resize then smooths as it does on a camera's
STREAMED_FROM = HELD_OUT_SEEDS // 2  # seeds of the people of the second part

IMFE = ImfeConfig(
    name="demo",
    height=64,
    width=80,
    encoder=(8, 16, 24),
    fmap_channels=32,
    pair_channels=24,
    motion=(64, 48, 48),
    mid_channels=64,
    head=((1, 32), (1, 32)),
    region_grid=(2, 3),
    fps=FPS,
    direct=True,
)
HEAD = NetworkConfig(
    in_channels=IMFE.feature_dim,
    graph=region_grid(*IMFE.region_grid),
    labels=LABELS,
    layers=(
        LayerConfig(IMFE.feature_dim, 64, taps=3, residual="conv", dropout=0.1),
        LayerConfig(64, 64, taps=3, dropout=0.1),
    ),
    fps=FPS / HOP,
    source="regions",
    background=BACKGROUND,
)


def draw_windows(people: int) -> tuple[Tensor, Tensor]:
    """Two clips a person: uint8 RGB (2 people, clip, H, W, 3), and their classes."""
    frames, labels = [], []
    preprocess = Preprocessor(IMFE.height, IMFE.width)
    for seed in range(people):
        rng = np.random.default_rng(seed)
        scene = Scene(rng, RENDERED)
        for _ in range(2):
            label, manner, begin = int(rng.integers(len(LABELS))), Manner.draw(rng), rng.uniform(0, 4)
            times = begin + np.arange(IMFE.clip_length) / FPS
            images = (scene.draw(ACTIONS[LABELS[label]](manner, t), t) for t in times)
            frames.append(np.stack([preprocess(image).copy() for image in images]))
            labels.append(label)
    return torch.from_numpy(np.stack(frames)), torch.tensor(labels)


def draw_stream(seed: int) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """One person: frames uint8 RGB (T, H, W, 3) and, for each result, its class, -1 where it counts for none."""
    rng = np.random.default_rng((1, seed))
    before = rng.uniform(0.3, 0.7) * CLIP_S
    script = [Act(LABELS[rng.integers(len(LABELS))], seconds) for seconds in (before, CLIP_S - before)]
    preprocess = Preprocessor(IMFE.height, IMFE.width)
    frames = np.stack([preprocess(image).copy() for image in render(seed, script, RENDERED, FPS)])
    ends = np.arange(IMFE.clip_length - 1, len(frames), HOP)
    change = frames_of(script[0], FPS)
    labels = np.where(ends < change, LABELS.index(script[0].action), LABELS.index(script[1].action))
    if script[0].action != script[1].action:
        labels[(ends >= change) & (ends < change + BLEND_S * FPS)] = -1
    return torch.from_numpy(frames), labels


def draw_streams(first_seed: int, count: int) -> tuple[list[Tensor], Tensor]:
    """Streams cut to the shortest one's length, and their labels (count, L)."""
    streams = [draw_stream(first_seed + index) for index in range(count)]
    length = min(len(frames) for frames, _ in streams)
    results = (length - IMFE.clip_length) // HOP + 1
    return [frames[:length] for frames, _ in streams], torch.from_numpy(
        np.stack([labels[:results] for _, labels in streams])
    )


def optimise(
    parameters: Iterable[dict[str, object]], steps: int, predict: Callable[[int], tuple[Tensor, Tensor]], log: Log
) -> None:
    """``predict`` gives step ``i``'s logits (n, classes) and labels (n,); one line of the log every ten steps."""
    groups = list(parameters)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.2)  # type: ignore[arg-type]
    for step in range(steps):
        logits, labels = predict(step)
        loss = F.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 5.0)
        optimizer.step()
        schedule.step()
        right = (logits.argmax(-1) == labels)[labels >= 0].float().mean()
        log.add(loss.item(), right.item())


class Log:
    """``log.csv``: the means of ten steps a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["step", "loss", "accuracy", "seconds"])
        self._recent: list[tuple[float, float]] = []
        self._step = 0
        self._begun = time.monotonic()

    def add(self, loss: float, accuracy: float) -> None:
        self._step += 1
        self._recent.append((loss, accuracy))
        if self._step % 10 == 0:
            means = (f"{value:.4f}" for value in np.mean(self._recent, axis=0))
            self._rows.writerow([self._step, *means, f"{time.monotonic() - self._begun:.0f}"])
            self._file.flush()
            self._recent.clear()


def train(people: int, clip_steps: int, stream_steps: int, seed: int, log: Log) -> Recogniser:
    """Both parts; the network that comes of them."""
    torch.manual_seed(seed)
    network = Recogniser(Imfe(IMFE), RtStgcn(HEAD), HOP)
    network.train()
    classify = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(IMFE.feature_dim * IMFE.num_regions, len(LABELS)))
    windows, classes = draw_windows(people)

    def clips(step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(windows), (64,))
        mirrored = torch.rand(64) < 0.5
        batch = torch.where(mirrored[:, None, None, None, None], windows[chosen].flip(3), windows[chosen])
        regions, _ = network.regions(list(batch), False)
        return classify(regions), classes[chosen]

    def streams(step: int) -> tuple[Tensor, Tensor]:
        frames, labels = draw_streams(STREAMED_FROM + 8 * step, 8)
        return network(frames).logits.flatten(0, 1), labels.flatten()

    # the difference of two frames teaches the encoder; the correlation joins once there is something to correlate
    moved = [weight for name, weight in network.imfe.named_parameters() if name != "correlation_gain"]
    optimise([{"params": [*moved, *classify.parameters()], "lr": 3e-3}], clip_steps, clips, log)
    imfe, head = ({"params": list(part.parameters())} for part in (network.imfe, network.head))
    optimise([imfe | {"lr": 3e-4}, head | {"lr": 2e-3}], stream_steps, streams, log)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=4000, help="in the first part")
    parser.add_argument("--clip-steps", type=int, default=450)
    parser.add_argument("--stream-steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    network = train(
        options.people, options.clip_steps, options.stream_steps, options.seed, Log(options.out / "log.csv")
    )
    made_by = (
        f"python -m models_zoo.demo.train --people {options.people} --clip-steps {options.clip_steps} "
        f"--stream-steps {options.stream_steps} --seed {options.seed}"
    )
    provenance = Provenance(
        made_by=made_by, trained_on="generated people (edge_runtime.sources.figure)", licence="Apache-2.0"
    )
    export_imfe(network.imfe, options.out / "imfe.onnx", "demo", provenance)
    export_rtstgcn(network.head, options.out / "rtstgcn.onnx", "demo", provenance)


if __name__ == "__main__":
    main()
