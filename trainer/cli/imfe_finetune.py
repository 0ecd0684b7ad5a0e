"""``trainer imfe finetune``: a folder of labelled clips -> a pair of ONNX files that ``edge-run`` takes."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli._clips import Clips, add_clip_options, open_clips

if TYPE_CHECKING:
    from trainer.engine.imfe_recogniser import Recogniser

log = logging.getLogger(__name__)

CHECK_EVERY = 10  # epochs


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="labelled clips -> imfe.onnx and rtstgcn.onnx",
        description="Train both networks on your own clips and export them. The folder has a sub-folder a class "
        "(wave/clip1.mp4); a CSV list has the columns path,label and, to keep a person or a session on one side of "
        "the split, group. Interrupted, the same command goes on where it was. "
        "docs/training-imfe.md says what to expect.",
    )
    add_clip_options(parser)
    parser.add_argument("--init", type=Path, metavar="CKPT", help="start from model.pt of an earlier run")
    parser.add_argument("--name", default="imfe-clips", help="what the models call themselves (%(default)s)")
    parser.add_argument("--trained-on", metavar="TEXT", help="data set and split, kept in the files")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights, kept in the files")
    parser.add_argument("--citation", metavar="TEXT", help="whom to cite, kept in the files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, check, export."""
    import torch

    from trainer.engine.imfe_files import start_from
    from trainer.engine.imfe_train import build, clip_accuracy, train

    data = open_clips(args)
    torch.manual_seed(args.seed)
    net = build(data.recipe, data.labels, args.background)
    if args.init:
        log.info("%d of %d tensors from %s", *start_from(net, args.init), args.init)

    def check(epoch: int, averaged: Recogniser) -> dict[str, float]:
        due = epoch % CHECK_EVERY == 0 or epoch == data.recipe.epochs
        return clip_accuracy(averaged, data.check) if due and data.check.clips else {}

    _export(args, train(net, data.training, data.recipe, args.seed, args.out, check), data)


def _export(args: argparse.Namespace, net: Recogniser, data: Clips) -> None:
    from trainer.engine.imfe_files import save_recogniser
    from trainer.engine.imfe_train import clip_accuracy
    from trainer.export import describe, export_imfe, export_rtstgcn

    weights = args.out / "model.pt"
    save_recogniser(weights, net, data.recipe)
    origin = describe(weights, args.trained_on, args.licence, args.citation)
    for file, error in (
        ("imfe.onnx", export_imfe(net.imfe, args.out / "imfe.onnx", args.name, origin)),
        ("rtstgcn.onnx", export_rtstgcn(net.head, args.out / "rtstgcn.onnx", f"{args.name}-head", origin)),
    ):
        print(f"{args.out / file}: within {error:.1e} of torch")
    if data.check.clips:
        share = clip_accuracy(net, data.check)["held_out_accuracy"]
        print(f"held-out clips named rightly: {100 * share:.1f} % (groups {', '.join(data.held_out)})")
    print(f"try it: edge-run --video CLIP --model {args.out / 'imfe.onnx'}")
