"""``python -m benchmarks.heads``: RT-ST-GCN and LSTR, on motion alone and on RGB and motion, fold by fold.

For each fold of a cross-validation the motion network (``trainer imfe finetune``) and the RGB network (``trainer imfe
baseline appearance``) stay as they are, their regions are computed once, and four heads are trained on them from the
same recipe and seed: what ``trainer imfe finetune --head-only`` does four times, which computes the regions four times.
Each pair of files is exported into ``OUT/<cell>/<fold>`` and scored by ``trainer imfe evaluate``.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from trainer.cli._clips import Clips, add_clip_options, open_clips
from trainer.engine.imfe_files import save_recogniser, start_from
from trainer.engine.imfe_heads import RememberedRegions
from trainer.engine.imfe_recogniser import HeadAlone, Recogniser
from trainer.engine.imfe_train import Batch, Recipe, build, train
from trainer.export import export_imfe, export_lstr, export_rtstgcn
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
    """Train one fold's four heads and write their folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clip_options(parser)
    parser.add_argument("--motion", required=True, type=Path, metavar="CKPT", help="model.pt of imfe finetune")
    parser.add_argument("--rgb", required=True, type=Path, metavar="CKPT", help="model.pt of imfe baseline appearance")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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


def _network(recipe: Recipe, args: argparse.Namespace, data: Clips) -> Recogniser:
    """The two streams as given, a new head."""
    torch.manual_seed(args.seed)
    net = build(recipe, data.labels, args.background)
    start_from(net, args.motion, with_head=False)
    if recipe.imfe.appearance:
        start_from(net, args.rgb, with_head=False)
    return net.eval()


def _write(net: Recogniser, recipe: Recipe, folder: Path) -> None:
    save_recogniser(folder / "model.pt", net, recipe)
    export_imfe(net.imfe, folder / "imfe.onnx")
    if isinstance(net.head, Lstr):
        export_lstr(net.head, folder / "lstr.onnx")
    else:
        export_rtstgcn(net.head, folder / "rtstgcn.onnx")


if __name__ == "__main__":
    main()
