"""``trainer imfe teach``: teacher features for distillation, from optical flow and a few labelled clips."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError
from trainer.cli._clips import add_clip_options, open_clips


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="labelled clips -> a flow network -> features of unlabelled videos",
        description="Train the flow baseline on labelled clips, with features as wide as the student's, and write one "
        ".npy a video of --rgb, a row a clip: what 'trainer imfe train --features' takes. What is there is not made "
        "again.",
    )
    add_clip_options(parser)
    parser.add_argument("--rgb", type=Path, required=True, metavar="DIR", help="video/img_00000.jpg or video files")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="where the rows go")
    parser.add_argument("--config", default="tiny", metavar="base|small|tiny|FILE", help="the student's (tiny)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train the teacher, score it, write the rows."""
    import torch

    from trainer.data.rawframes import CLIP_LENGTH, find_videos
    from trainer.engine.imfe_baselines import FlowNet
    from trainer.engine.imfe_extract import extract
    from trainer.engine.imfe_teacher import teacher_extractor
    from trainer.engine.imfe_train import build_head, clip_accuracy, train
    from trainer.nets.imfe import read_config

    student = read_config(args.config)
    if student.clip_length != CLIP_LENGTH:
        raise InputError(f"--config {args.config}: clips of {student.clip_length} frames, the published layout has 6")
    videos = find_videos(args.rgb)
    # the teacher sees what the student will see, at the rate that its labelled clips are taken at
    data = open_clips(args, lambda recipe: dataclasses.replace(recipe, imfe=student))
    torch.manual_seed(args.seed)
    head = build_head(data.recipe, data.labels, args.background, student.feature_dim)
    teacher = train(FlowNet(student, head, data.recipe.hop), data.training, data.recipe, args.seed, args.out)
    if data.check.clips:
        print(f"teacher: {100 * clip_accuracy(teacher, data.check)['held_out_accuracy']:.1f} % of the held-out clips")
    done = extract(videos, args.features, teacher_extractor(teacher, student), regions=False)
    print("  ".join(f"{key} {value:.4g}" for key, value in done.items()))
