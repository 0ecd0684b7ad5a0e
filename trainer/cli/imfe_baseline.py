"""``trainer imfe baseline``: what the same clips give without IMFE, by appearance alone or by optical flow."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from trainer.cli._clips import Clips, add_clip_options, open_clips

if TYPE_CHECKING:
    from trainer.engine.imfe_recogniser import ClipNet

FLOW_CHANNELS = 64  # of each region


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="train what IMFE is judged against on the same clips",
        description="Train and score a baseline with the recipe of 'trainer imfe finetune'. appearance: single "
        "pictures, averaged over the clip. flow: optical flow, a small network and the same graph head.",
    )
    parser.add_argument("kind", choices=("appearance", "flow"))
    add_clip_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, score, print."""
    import torch

    from trainer.engine.imfe_files import save_stream
    from trainer.engine.imfe_train import clip_accuracy, train

    data = open_clips(args)
    if not data.check.clips:
        raise InputError("a baseline is trained to be scored: hold some groups out")
    torch.manual_seed(args.seed)
    net = train(_build(args, data), data.training, data.recipe, args.seed, args.out)
    if args.kind == "appearance":
        save_stream(args.out / "model.pt", net)
    scores = clip_accuracy(net, data.check)
    actions = sum(clip.label != args.background for clip in data.check.clips)
    print(f"{args.kind}: {100 * scores['held_out_accuracy']:.1f} % of {actions} clips of {', '.join(data.held_out)}")


def _build(args: argparse.Namespace, data: Clips) -> ClipNet:
    from trainer.engine.imfe_baselines import AppearanceNet, FlowNet
    from trainer.engine.imfe_train import build_head

    recipe, labels = data.recipe, data.labels
    if args.kind == "appearance":
        return AppearanceNet(recipe.imfe, labels, args.background, recipe.hop, recipe.dropout)
    return FlowNet(recipe.imfe, build_head(recipe, labels, args.background, FLOW_CHANNELS), recipe.hop)
