"""``trainer imfe finetune``: a folder of labelled clips -> a pair of ONNX files that ``edge-run`` takes."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Provenance

if TYPE_CHECKING:
    from trainer.engine.imfe_recogniser import Recogniser
    from trainer.engine.imfe_train import Recipe, Samples

log = logging.getLogger(__name__)

MARGIN = 1.25  # training clips are kept so much larger than the network's input, for crops


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
    parser.add_argument("clips", type=Path, metavar="DIR|CSV", help="labelled clips")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what the paths of the list are relative to")
    parser.add_argument("--background", metavar="LABEL", help="the class that means that nothing is going on")
    parser.add_argument("--init", type=Path, metavar="CKPT", help="start from model.pt of an earlier run")
    parser.add_argument("--recipe", type=Path, metavar="JSON", help="what should differ from the default recipe")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the clips (the recipe's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="decoded clips (default: OUT/cache)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (%(default)s)")
    held = parser.add_mutually_exclusive_group()
    held.add_argument("--hold-out", metavar="G,...", help="groups to keep for checking; 'none' trains on everything")
    held.add_argument("--check-share", type=float, default=0.2, metavar="S", help="or a share of each class (0.2)")
    parser.add_argument("--name", default="imfe-clips", help="what the models call themselves")
    parser.add_argument("--trained-on", metavar="TEXT", help="data set and split, kept in the files")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights, kept in the files")
    parser.add_argument("--citation", metavar="TEXT", help="whom to cite, kept in the files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, check, export."""
    import cv2
    import torch

    from trainer.data.clips import choose_held_out, find_clips, load_all, split_by_group
    from trainer.engine.imfe_train import Samples, build, clip_accuracy, train

    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    recipe = _recipe(args)
    clips = find_clips(args.clips, args.root)
    if args.hold_out:
        groups = [] if args.hold_out == "none" else args.hold_out.split(",")
    else:
        groups = choose_held_out(clips, args.check_share, args.seed)
    training, held_out = split_by_group(clips, groups)
    labels = sorted({clip.label for clip in training}, key=lambda label: (label == args.background, label))
    if args.background and args.background not in labels:
        raise InputError(f"--background {args.background}: no such class; the classes are {', '.join(labels)}")

    cache = args.cache or args.out / "cache"
    height, width = recipe.imfe.height, recipe.imfe.width
    larger = round(height * MARGIN), round(width * MARGIN)
    log.info("%d clips to train, %d to check; decoding into %s", len(training), len(held_out), cache)
    samples = Samples(*load_all(training, *larger, cache))
    check = Samples(*load_all(held_out, height, width, cache))

    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "split.json").write_text(json.dumps({"held_out": groups}) + "\n", encoding="utf-8")
    torch.manual_seed(args.seed)
    net = build(recipe, labels, args.background)
    if args.init:
        from trainer.engine.imfe_files import start_from

        log.info("%d of %d tensors from %s", *start_from(net, args.init), args.init)

    def every_tenth(epoch: int, averaged: Recogniser) -> dict[str, float]:
        due = epoch % 10 == 0 or epoch == recipe.epochs
        return clip_accuracy(averaged, check) if due and check.clips else {}

    best = train(net, samples, recipe, args.seed, args.out, every_tenth)
    _export(args, best, recipe, check)


def _recipe(args: argparse.Namespace) -> Recipe:
    from trainer.engine.imfe_train import Recipe

    raw: dict[str, Any] = {}
    if args.recipe:
        try:
            raw = json.loads(args.recipe.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"--recipe {args.recipe}: not a JSON file ({error})") from error
        if not isinstance(raw, dict):
            raise InputError(f"--recipe {args.recipe}: expected an object, found {type(raw).__name__}")
    if args.epochs is not None:
        if args.epochs < 1:
            raise InputError(f"--epochs {args.epochs}: expected at least 1")
        raw["epochs"] = args.epochs
    return Recipe.from_dict(raw)


def _export(args: argparse.Namespace, net: Recogniser, recipe: Recipe, check: Samples) -> None:
    from trainer.engine.imfe_files import save_recogniser
    from trainer.engine.imfe_train import clip_accuracy
    from trainer.export import describe, export_imfe, export_rtstgcn

    net.eval()
    weights = args.out / "model.pt"
    save_recogniser(weights, net, recipe)
    origin: Provenance = describe(weights, args.trained_on, args.licence, args.citation)
    for file, error in (
        ("imfe.onnx", export_imfe(net.imfe, args.out / "imfe.onnx", args.name, origin)),
        ("rtstgcn.onnx", export_rtstgcn(net.head, args.out / "rtstgcn.onnx", f"{args.name}-head", origin)),
    ):
        print(f"{args.out / file}: within {error:.1e} of torch")
    if check.clips:
        share = clip_accuracy(net, check)["held_out_accuracy"]
        print(f"held-out clips named rightly: {100 * share:.1f} % of {len(check.clips)}")
    print(f"try it: edge-run --video CLIP --model {args.out / 'imfe.onnx'}")
