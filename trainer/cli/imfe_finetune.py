"""``trainer imfe finetune``: a folder of labelled clips -> a pair of ONNX files that ``edge-run`` takes."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from trainer.cli._clips import Clips, add_clip_options, open_clips
from trainer.cli._options import add_provenance_options

if TYPE_CHECKING:
    from trainer.engine.imfe_recogniser import Recogniser
    from trainer.engine.imfe_train import Recipe

log = logging.getLogger(__name__)

CHECK_EVERY = 10  # epochs
_EXAMPLES = """\
examples:
  %(prog)s clips/ --background nothing --out runs/mine               clips/wave/anna1.mp4, clips/nothing/...
  %(prog)s clips.csv --root videos/ --hold-out anna --out runs/mine  path,label,group: Anna's clips check
  %(prog)s clips/ --init models_zoo/ut-interaction/model.pt --out runs/mine
"""


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="labelled clips -> imfe.onnx and its head",
        description="Train both networks on your own clips and export them. The folder has a sub-folder a class "
        "(wave/clip1.mp4); a CSV list has the columns path,label and, to keep a person or a session on one side of "
        "the split, group. Interrupted, the same command goes on where it was. "
        "docs/training-imfe.md says what to expect.",
        epilog=_EXAMPLES,
    )
    add_clip_options(parser)
    parser.add_argument(
        "--init", type=Path, nargs="+", default=[], metavar="CKPT", help="start from model.pt of an earlier run, or two"
    )
    parser.add_argument("--head", choices=("rtstgcn", "lstr"), help="what names actions (the recipe's: rtstgcn)")
    parser.add_argument("--head-only", action="store_true", help="train a new head on the features that --init has")
    parser.add_argument("--appearance", action="store_true", help="an RGB stream beside the motion, trained with it")
    add_provenance_options(parser)
    parser.set_defaults(run=run, name="imfe-clips")


def run(args: argparse.Namespace) -> None:
    """Train, check, export."""
    import torch

    from trainer.engine.imfe_files import start_from
    from trainer.engine.imfe_heads import train_head
    from trainer.engine.imfe_train import build, clip_accuracy, train

    if args.head_only and not args.init:
        raise InputError("--head-only trains on features that are there already; give their model.pt with --init")
    for path in args.init:  # now, not when every clip has been decoded
        if not path.is_file():
            raise InputError(f"--init {path}: no such file; expected the model.pt of an earlier run")
    data = open_clips(args, lambda recipe: _changed(recipe, args))
    torch.manual_seed(args.seed)
    net = build(data.recipe, data.labels, args.background)
    for path in args.init:
        log.info("%d of %d tensors from %s", *start_from(net, path, with_head=not args.head_only), path)

    def check(epoch: int, averaged: Recogniser) -> dict[str, float]:
        due = epoch % CHECK_EVERY == 0 or epoch == data.recipe.epochs
        return clip_accuracy(averaged, data.check) if due and data.check.clips else {}

    if args.head_only:
        net.head = train_head(net, data.training, data.recipe, args.seed, args.out)
    else:
        net = train(net, data.training, data.recipe, args.seed, args.out, check)
    _export(args, net, data)


def _changed(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with what the options say of it."""
    return dataclasses.replace(
        recipe,
        imfe=dataclasses.replace(recipe.imfe, appearance=args.appearance or recipe.imfe.appearance),
        head=args.head or recipe.head,
        flow=0.0 if args.head_only else recipe.flow,
    )


def _export(args: argparse.Namespace, net: Recogniser, data: Clips) -> None:
    from trainer.engine.imfe_files import save_recogniser
    from trainer.engine.imfe_train import clip_accuracy
    from trainer.export import describe, export_imfe, export_lstr, export_rtstgcn
    from trainer.nets.lstr import Lstr

    weights = args.out / "model.pt"
    save_recogniser(weights, net, data.recipe)
    origin = describe(weights, args.trained_on, args.licence, args.citation)
    imfe, head = args.out / "imfe.onnx", args.out / f"{data.recipe.head}.onnx"
    print(f"{imfe}: within {export_imfe(net.imfe, imfe, args.name, origin):.1e} of torch")
    if isinstance(net.head, Lstr):
        error = export_lstr(net.head, head, f"{args.name}-head", origin)
    else:
        error = export_rtstgcn(net.head, head, f"{args.name}-head", origin)
    print(f"{head}: within {error:.1e} of torch")
    if data.check.clips:
        share = clip_accuracy(net, data.check)["held_out_accuracy"]
        print(f"held-out clips named rightly: {100 * share:.1f} % (groups {', '.join(data.held_out)})")
    print(f"try it: edge-run --video CLIP --model {imfe}")
