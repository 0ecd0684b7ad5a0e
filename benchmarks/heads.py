"""RT-ST-GCN and LSTR, on motion alone and on RGB and motion.

``python -m benchmarks.heads train`` takes one fold of a cross-validation. Its motion network (``trainer imfe
finetune``) and its RGB network (``trainer imfe baseline appearance``) stay as they are, their regions are computed
once, and four heads are trained on them from the same recipe and seed: what ``trainer imfe finetune --head-only`` does
four times, which computes the regions four times. Each pair of files goes into ``OUT/<head>-<streams>``, for ``trainer
imfe evaluate``.

``python -m benchmarks.heads joined`` runs such folders over the clips of each sequence that they were not trained on,
one after the other as one stream: there the head must notice by itself that one action has ended and another begun.

``python -m benchmarks.heads time`` runs such folders in turns, a result each, on one thread: the encoder, motion and
RGB passes that a result needs, and the head. Pictures are of the network's size; nothing is decoded.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from edge_runtime.events import Result
from edge_runtime.models.inspection import inspect
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.pipeline.assembly import Models, load_models, open_recogniser
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.recogniser import Recogniser, event_of
from edge_runtime.quantization.measure import take_turns
from edge_runtime.segments import Hysteresis, Segmenter
from edge_runtime.sources.base import Frame
from edge_runtime.streams.observer import ignore
from trainer.cli._clips import Clips, add_clip_options, open_clips
from trainer.cli.imfe_evaluate import held_out
from trainer.data.clips import Clip, cached, find_clips, runtime_frames
from trainer.engine.imfe_files import save_recogniser, start_from
from trainer.engine.imfe_heads import RememberedRegions
from trainer.engine.imfe_recogniser import HeadAlone
from trainer.engine.imfe_recogniser import Recogniser as Trained
from trainer.engine.imfe_train import Batch, Recipe, build, train
from trainer.export import export_imfe, export_lstr, export_rtstgcn
from trainer.metrics import Scores
from trainer.nets.lstr import Lstr

HEADS: tuple[Literal["rtstgcn", "lstr"], ...] = ("rtstgcn", "lstr")


class MotionOf:
    """The same batches without the channels of the RGB stream, which come last."""

    def __init__(self, regions: RememberedRegions, channels: int) -> None:
        self._regions = regions
        self._channels = channels

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        for batch in self._regions(rng):
            yield dataclasses.replace(batch, clips=[clip[:, : self._channels] for clip in batch.clips])


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    train_parser = commands.add_parser("train", help="one fold's four heads")
    add_clip_options(train_parser)
    train_parser.add_argument("--motion", required=True, type=Path, metavar="CKPT", help="model.pt of imfe finetune")
    train_parser.add_argument("--rgb", required=True, type=Path, metavar="CKPT", help="model.pt of baseline appearance")
    train_parser.set_defaults(run=train_fold)
    joined_parser = commands.add_parser("joined", help="held-out clips as one stream a sequence")
    joined_parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folds of one kind, pooled")
    joined_parser.add_argument("--clips", required=True, type=Path, metavar="CSV")
    joined_parser.add_argument("--root", type=Path, metavar="DIR")
    joined_parser.add_argument("--cache", required=True, type=Path, metavar="DIR")
    joined_parser.set_defaults(run=score_joined)
    time_parser = commands.add_parser("time", help="folders in turns")
    time_parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    time_parser.add_argument("--rounds", type=int, default=400)
    time_parser.set_defaults(run=time_folders)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.run(args)


def score_joined(args: argparse.Namespace) -> None:
    """One line for all folders."""
    clips = find_clips(args.clips, args.root)
    each, shown = (Scores(len(_labels(args.folders[0])), thresholds=(0.5,)) for _ in range(2))
    for folder in args.folders:
        models = load_models(folder / "imfe.onnx", None)
        recogniser, _ = open_recogniser(models, observe=ignore)
        each.fps = models.fps / recogniser.hop
        for group in held_out(folder):
            opinions, truth = _stream(recogniser, [clip for clip in clips if clip.group == group], models, args.cache)
            numbers = np.array([models.labels.index(label) for label in truth])
            each.add(np.stack([np.asarray(opinion.scores) for opinion in opinions], 1), numbers)
            shown.add(np.eye(len(models.labels))[_segments(opinions, recogniser)].T, numbers)
    one, segments = each.result(), shown.result()
    print(
        f"{args.folders[0].name}: {100 * one['accuracy']:.1f} % of results, mAP {100 * one['map']:.1f}, named "
        f"{100 * one['detected']:.1f} % of actions after {one['time_to_detection']:.2f} s, "
        f"segments' pooled F1@50 {100 * segments['pooled_f1@50']:.1f}"
    )


def _labels(folder: Path) -> tuple[str, ...]:
    return load_models(folder / "imfe.onnx", None).labels


def _segments(opinions: Sequence[Opinion], recogniser: Recogniser) -> npt.NDArray[np.intp]:
    """The class of the segment that edge-run would report at each opinion, by its default thresholds."""
    labels, background = recogniser.labels, recogniser.background
    assert background is not None
    segmenter = Segmenter(Hysteresis(), background)
    events = [cast(Result, event_of(opinion, labels, 0.0)) for opinion in opinions]
    found = [segment for event in events for segment in segmenter.step(event)] + segmenter.finish()
    times, named = np.array([event.t for event in events]), np.full(len(events), labels.index(background))
    for segment in found:
        named[(segment.start <= times) & (times <= segment.end)] = labels.index(segment.label)
    return named


def _stream(
    recogniser: Recogniser, clips: Sequence[Clip], models: Models, cache: Path
) -> tuple[list[Opinion], list[str]]:
    """Opinions of the clips one after the other, and the label of the clip that each one's frame is of."""
    metadata = models.main.metadata
    assert isinstance(metadata, ImfeMetadata)
    recogniser.reset()
    opinions: list[Opinion] = []
    truth: list[str] = []
    for clip in clips:
        video = cached(clip.path, metadata.height, metadata.width, cache)
        for picture in video.frames[runtime_frames(video, models.fps)]:
            t = len(truth) / models.fps
            opinions += recogniser.step(Frame(picture, len(truth), t, 0))
            truth.append(clip.label)
    return opinions, [truth[opinion.frame] for opinion in opinions]


def time_folders(args: argparse.Namespace) -> None:
    """A line a folder: work and median CPU time of a result, and of what comes after its last frame."""
    models = [load_models(folder / "imfe.onnx", None) for folder in args.folders]
    results = [Results(one) for one in models]
    times = take_turns([one.next for one in results], args.rounds, clock_ns=time.thread_time_ns)
    for folder, one, us in zip(args.folders, results, times.median_us, strict=True):
        last = statistics.median(one.last_ns) / 1e6
        print(
            f"{folder}: {one.macs / 1e6:.1f} MMAC a result, {us / 1e3:.2f} ms, {last:.2f} of them after its last frame"
        )


class Results:
    """A model at the hop that its head was trained at, fed with noise."""

    def __init__(self, models: Models) -> None:
        assert models.head is not None
        main, head = inspect(models.main), inspect(models.head)
        self._recogniser, _ = open_recogniser(models, observe=ignore)
        self._hop = self._recogniser.hop
        per_hop = {"encoder": self._hop, "motion": min(self._hop, self._recogniser.clip_length - 1)}
        self.macs = sum(cost.macs * per_hop.get(stage, 1) for stage, cost in (main.costs | head.costs).items())
        self.last_ns: list[int] = []
        size = main.metadata["height"], main.metadata["width"]
        pictures = np.random.default_rng(0).integers(0, 256, (16, *size, 3), np.uint8)
        self._frames = (Frame(picture, i, i / models.fps, 0) for i, picture in enumerate(itertools.cycle(pictures)))
        while not self._recogniser.step(next(self._frames)):
            pass

    def next(self) -> None:
        """Up to the next result."""
        for frame in itertools.islice(self._frames, self._hop - 1):
            self._recogniser.step(frame)
        last = next(self._frames)
        begun = time.thread_time_ns()
        opinions = self._recogniser.step(last)
        self.last_ns.append(time.thread_time_ns() - begun)
        assert opinions


def train_fold(args: argparse.Namespace) -> None:
    """Four heads, and their folders."""
    data = open_clips(args)
    both = dataclasses.replace(data.recipe, imfe=dataclasses.replace(data.recipe.imfe, appearance=True))
    regions = RememberedRegions(_network(both, args, data), data.training, both, args.seed)
    motion = MotionOf(regions, data.recipe.imfe.feature_dim)
    for name, recipe, batches in (("motion", data.recipe, motion), ("both", both, regions)):
        for head in HEADS:
            changed = dataclasses.replace(recipe, head=head)
            net = _network(changed, args, data)
            folder = args.out / f"{head}-{name}"
            alone = train(HeadAlone(net.head), data.training, changed, args.seed, folder, batches=batches)
            net.head = alone.head.eval()
            _write(net, changed, folder)
            (folder / "split.json").write_bytes((args.out / "split.json").read_bytes())


def _network(recipe: Recipe, args: argparse.Namespace, data: Clips) -> Trained:
    """The two streams as given, a new head."""
    torch.manual_seed(args.seed)
    net = build(recipe, data.labels, args.background)
    start_from(net, args.motion, with_head=False)
    if recipe.imfe.appearance:
        start_from(net, args.rgb, with_head=False)
    return net.eval()


def _write(net: Trained, recipe: Recipe, folder: Path) -> None:
    save_recogniser(folder / "model.pt", net, recipe)
    export_imfe(net.imfe, folder / "imfe.onnx")
    if isinstance(net.head, Lstr):
        export_lstr(net.head, folder / "lstr.onnx")
    else:
        export_rtstgcn(net.head, folder / "rtstgcn.onnx")


if __name__ == "__main__":
    main()
