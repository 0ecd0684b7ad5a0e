"""Options and data of the commands that train on labelled clips. (A leading underscore: not a command.)"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from trainer.engine.imfe_train import Recipe, Samples

log = logging.getLogger(__name__)

MARGIN = 1.25  # training clips are kept so much larger than the network's input, for crops


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Which clips, how they are split, and how to train."""
    parser.add_argument("clips", type=Path, metavar="DIR|CSV", help="labelled clips")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what the paths of the list are relative to")
    parser.add_argument("--background", metavar="LABEL", help="the class that means that nothing is going on")
    parser.add_argument("--recipe", type=Path, metavar="JSON", help="what should differ from the default recipe")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the clips (the recipe's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="decoded clips (default: OUT/cache)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (%(default)s)")
    held = parser.add_mutually_exclusive_group()
    held.add_argument("--hold-out", metavar="G,...", help="groups to keep for checking; 'none' trains on everything")
    held.add_argument("--check-share", type=float, default=0.2, metavar="S", help="or a share of each class (0.2)")


@dataclass(frozen=True, slots=True)
class Clips:
    """What those options name."""

    recipe: Recipe
    labels: list[str]  # the background last
    training: Samples
    check: Samples
    held_out: list[str]  # groups


def open_clips(args: argparse.Namespace, change: Callable[[Recipe], Recipe] = lambda recipe: recipe) -> Clips:
    """Find, split and decode the clips; write ``split.json`` into the out folder.

    Args:
        change: what the command itself changes in the recipe.

    Raises:
        InputError: an option or the data cannot be used.
    """
    import cv2
    import torch

    from trainer.data.clips import choose_held_out, find_clips, load_all, split_by_group
    from trainer.engine.imfe_train import Samples

    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    recipe = change(read_recipe(args))
    clips = find_clips(args.clips, args.root)
    if args.hold_out:
        groups = [] if args.hold_out == "none" else args.hold_out.split(",")
    else:
        groups = choose_held_out(clips, args.check_share, args.seed)
    training, held_out = split_by_group(clips, groups)
    labels = sorted({clip.label for clip in training}, key=lambda label: (label == args.background, label))
    if args.background and args.background not in labels:
        raise InputError(f"--background {args.background}: no such class; the classes are {', '.join(labels)}")
    if strange := {clip.label for clip in held_out} - set(labels):
        raise InputError(f"class '{min(strange)}' is only among the clips held out; hold out other groups")

    cache = args.cache or args.out / "cache"
    height, width = recipe.imfe.height, recipe.imfe.width
    larger = round(height * MARGIN), round(width * MARGIN)
    log.info("%d clips to train, %d to check; decoding into %s", len(training), len(held_out), cache)
    samples = Samples(*load_all(training, *larger, cache))
    check = Samples(*load_all(held_out, height, width, cache))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "split.json").write_text(json.dumps({"held_out": groups}) + "\n", encoding="utf-8")
    return Clips(recipe, labels, samples, check, groups)


def read_recipe(args: argparse.Namespace) -> Recipe:
    """What ``--recipe`` and ``--epochs`` say.

    Raises:
        InputError: not a recipe.
    """
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
