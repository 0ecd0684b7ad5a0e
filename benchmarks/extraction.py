"""``python -m benchmarks.extraction``: IMFE's training and extraction against an eager copy of the published layout.

*Published*: a clip's six frames as one float32 batch through the encoder, the correlation of all pairs of positions
(1376 x 1376 a pair of frames), its compression by a convolution over positions, the head. Same weights, same clips.

1. *Training*: a distillation step, forward and backward, of ``trainer imfe train``.
2. *Extraction*: ``trainer imfe extract`` with the checkpoint (torch) and with ``imfe.onnx`` (onnxruntime).

Variants take turns within one run, so that a busy machine slows all; ratios are of medians. Memory is what a process of
each variant grows by at most: first while it loads its weights, then while it works (onnxruntime's sessions reserve
what they will need when they load).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.training import peak_of
from trainer import checkpoint
from trainer.data.rawframes import CLIP_LENGTH
from trainer.engine.distributed import World
from trainer.engine.imfe_distil import Distillation, Student, distance, gradients
from trainer.engine.imfe_extract import Extractor, onnx_extractor, torch_extractor
from trainer.export import export_imfe
from trainer.nets.imfe import CONFIGS, Imfe

ALONE = World(0, 1, torch.device("cpu"))
SETTINGS = Distillation(epochs=1)
PUBLISHED = "published"

Work = Callable[[], object]
Build = Callable[[], Work]


def published_features(net: Imfe, clips: Tensor) -> Tensor:
    """uint8 clips (B, 6, H, W, 3) -> (B, D)."""
    B, clip = clips.shape[:2]
    encoder = net.feature_encoder
    fmaps = encoder.conv(encoder.stages(net.normalise(clips.flatten(0, 1))))  # autograd keeps all of its maps
    fmaps = fmaps.view(B, clip, *fmaps.shape[1:])
    pairs = net.pair_naive(fmaps[:, :-1].flatten(0, 1), fmaps[:, 1:].flatten(0, 1))
    return net.head(pairs.view(B, -1, *pairs.shape[2:]))[0]


def published_step(net: Imfe, clips: Tensor, rows: Tensor) -> None:
    """Leave the gradients of a batch in ``net``."""
    net.zero_grad()
    loss = distance(published_features(net, clips), rows, SETTINGS.loss).mean()
    loss.backward()  # type: ignore[no-untyped-call]


def network(config: str) -> Imfe:
    torch.manual_seed(0)
    return Imfe(CONFIGS[config])


def save(net: Imfe, folder: Path) -> None:
    """Its weights, and exported."""
    checkpoint.save(folder / "imfe.pt", {"model": net.state_dict(), "config": dataclasses.asdict(net.config)})
    export_imfe(net, folder / "imfe.onnx")


def clips_of(net: Imfe, count: int) -> Tensor:
    config = net.config
    shape = (count, config.clip_length, config.height, config.width, 3)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def training(config: str, count: int) -> dict[str, Build]:
    """One step of each on ``count`` clips."""

    def build(step: Callable[[Imfe, Tensor, Tensor], object]) -> Work:
        net = network(config).train()
        clips, rows = clips_of(net, count), torch.zeros(count, net.config.feature_dim)
        return lambda: step(net, clips, rows)

    return {PUBLISHED: lambda: build(published_step), "ours": lambda: build(our_step)}


def our_step(net: Imfe, clips: Tensor, rows: Tensor) -> None:
    """What a step of ``trainer imfe train`` does before the optimizer's."""
    gradients(Student(net, rows.shape[1]), clips, rows, SETTINGS, ALONE)


def extraction(config: str, count: int, folder: Path) -> dict[str, Build]:
    """The features of ``count`` clips in a row by each; ``folder`` has the weights."""

    def published() -> Work:
        net = network(config).eval()
        clips = clips_of(net, count)

        @torch.inference_mode()
        def work() -> object:
            return torch.cat([published_features(net, clip[None]) for clip in clips]).numpy()

        return work

    def ours(extractor: Extractor) -> Work:
        shape = (count, CLIP_LENGTH, extractor.height, extractor.width, 3)
        clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return lambda: extractor.compute(clips)[0]

    return {
        PUBLISHED: published,
        "ours, torch": lambda: ours(torch_extractor(folder / "imfe.pt", "cpu")),
        "ours, onnxruntime": lambda: ours(onnx_extractor(folder / "imfe.onnx", torch.get_num_threads())),
    }


def builds(what: str, config: str, count: int, folder: Path) -> dict[str, Build]:
    """The variants of ``what``."""
    return training(config, count) if what == "training" else extraction(config, count, folder)


def agree(what: str, config: str, folder: Path) -> float:
    """Largest difference of the variants' features, or of their gradients, over the largest value."""
    found = []
    if what == "training":
        net = network(
            config
        ).eval()  # in training a convolution's bias before a BatchNorm has gradients of pure rounding
        clips, rows = clips_of(net, 1), torch.zeros(1, net.config.feature_dim)
        for step in (published_step, our_step):
            step(net, clips, rows)
            found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).numpy())
    else:
        found = [np.asarray(build()()) for build in extraction(config, 1, folder).values()]
    return max(float(np.abs(each - found[0]).max() / np.abs(found[0]).max()) for each in found)


def seconds(variants: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median time of each, taken in turns after a warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, work in variants.items():
            begun = time.perf_counter()
            work()
            if round_:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def peaks(what: str, name: str, config: str, count: int, folder: Path) -> tuple[float, float]:
    """MB while loading and while working, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.extraction", "--config", config, "--clips", str(count)]
    command += ["--measure", what, name, str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    loading, working = map(float, printed.split()[-2:])
    return loading, working


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", choices=CONFIGS, default="base")
    parser.add_argument(
        "--clips", type=int, default=1, metavar="N", help="a step's, and extracted a turn (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.measure:
        what, name, folder = args.measure
        build = builds(what, args.config, args.clips, Path(folder))[name]
        work: list[Work] = []
        print(peak_of(lambda: work.append(build())), peak_of(work[0]))
        return
    with tempfile.TemporaryDirectory() as name_:
        folder = Path(name_)
        save(network(args.config).eval(), folder)
        print(f"IMFE {args.config}, {args.clips} clip(s) at once, {args.threads} thread(s)")
        for what in ("training", "extraction"):
            print(f"\n{what}: variants agree to {agree(what, args.config, folder):.1e}")
            print(
                f"{'':<20}{'s a clip':>9}{'clips/s':>9}{'faster':>8}{'loading MB':>12}{'working MB':>12}{'memory':>8}"
            )
            built = {name: build() for name, build in builds(what, args.config, args.clips, folder).items()}
            times = seconds(built, args.rounds)
            memory = {name: peaks(what, name, args.config, args.clips, folder) for name in times}
            for name, taken in times.items():
                print(
                    f"{name:<20}{taken / args.clips:9.2f}{args.clips / taken:9.2f}{times[PUBLISHED] / taken:7.2f}x"
                    f"{memory[name][0]:12.0f}{memory[name][1]:12.0f}{memory[name][1] / memory[PUBLISHED][1]:7.2f}x"
                )


if __name__ == "__main__":
    main()
