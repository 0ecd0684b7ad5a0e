"""``trainer imfe pretrain``: weights that have seen people move, from recorded joints alone."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from trainer.cli._clips import MARGIN, read_recipe

if TYPE_CHECKING:
    from trainer.engine.imfe_recogniser import Recogniser

log = logging.getLogger(__name__)

# of Penn Action the test part, of UTKinect two of eight people: only to see whether anything was learnt
CHECK_GROUPS = frozenset({"test", "s07", "s08"})
CHECK_EACH = 10  # clips of every action
EPOCHS = 8
EACH = 40
FLOW = 1.0  # weight of predicting optical flow: the 25 labels alone leave the loss at guessing for 5000 clips
FRAMES = (12, 18)  # shortest and longest clip: an action of one person shows in two seconds
FRAMES_EACH = 12  # of every background video


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="recorded joints -> drawn people -> weights for 'finetune --init'",
        description="Train on pictures of people drawn from recorded joints, in ever new clothes, places and company. "
        "OUT/model.pt is what 'trainer imfe finetune --init' starts from.",
    )
    parser.add_argument(
        "motions", nargs="+", type=Path, metavar="FILE|DIR", help="penn_action.npz, UTKinect's folder, or both"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="videos whose frames stand behind the people")
    parser.add_argument(
        "--each", type=int, default=EACH, metavar="N", help="clips of each action an epoch (%(default)s)"
    )
    parser.add_argument("--recipe", type=Path, metavar="JSON", help="what should differ from the default recipe")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw, train, check, save."""
    import cv2
    import numpy as np
    import torch

    from trainer.data.figures import Figures, read_backgrounds
    from trainer.data.motions import read_motions
    from trainer.engine.imfe_files import save_recogniser
    from trainer.engine.imfe_train import Samples, build, clip_accuracy, train

    if args.each < 1:
        raise InputError(f"--each {args.each}: expected at least 1")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    recipe = read_recipe(args)
    # movements have their tempo drawn where they are drawn
    light_and_camera = dataclasses.replace(recipe.augmentation, speed=(1.0, 1.0), max_skip=0.0)
    recipe = dataclasses.replace(recipe, augmentation=light_and_camera, frames=FRAMES, flow=FLOW)
    motions = [motion for source in args.motions for motion in read_motions(source)]
    height, width, fps = recipe.imfe.height, recipe.imfe.width, recipe.imfe.fps
    backgrounds = read_backgrounds(args.backgrounds, FRAMES_EACH, 2 * height) if args.backgrounds else []
    if args.backgrounds and not backgrounds:
        raise InputError(f"{args.backgrounds}: no frame of any video there")
    seconds = ((FRAMES[0] - 1) / fps, (FRAMES[1] - 1) / fps)

    def figures(held_out: bool, size: tuple[int, int], each: int) -> Figures:
        chosen = [motion for motion in motions if (motion.group in CHECK_GROUPS) == held_out]
        return Figures.of(chosen, backgrounds, size, fps, seconds, each)

    training = figures(False, (round(height * MARGIN), round(width * MARGIN)), args.each)
    unseen = figures(True, (height, width), CHECK_EACH)
    labels = sorted({clip.label for clip in training.clips})
    if not labels or not {clip.label for clip in unseen.clips} <= set(labels) or not unseen.clips:
        raise InputError(
            f"{args.motions[0]}: expected movements of {', '.join(sorted(CHECK_GROUPS))} to check and of others, of "
            "the same actions, to train"
        )
    log.info("%d movements, %d actions, %d backgrounds", len(motions), len(labels), len(backgrounds))
    check = Samples(
        unseen.clips, [unseen.draw(i, np.random.default_rng([args.seed, i])) for i in range(len(unseen.clips))]
    )

    def score(epoch: int, averaged: Recogniser) -> dict[str, float]:
        return clip_accuracy(averaged, check)

    torch.manual_seed(args.seed)
    net = train(build(recipe, labels, None), training, recipe, args.seed, args.out, score)
    save_recogniser(args.out / "model.pt", net, recipe)
    accuracy = clip_accuracy(net, check)["held_out_accuracy"]
    print(f"unseen people's actions: {100 * accuracy:.1f} % of {len(check.clips)} clips, {len(labels)} actions")
    print(f"next: trainer imfe finetune CLIPS --init {args.out / 'model.pt'}")
