"""``trainer imfe train``: distil a teacher's motion features into IMFE, with the published recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError

DEBUG_VIDEOS = 4


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="distillation: RGB frames -> a teacher's motion features",
        description="Train IMFE to give the teacher's feature of each clip of six frames. Start it with torchrun for "
        "several processes or machines.",
    )
    parser.add_argument("total_epochs", type=int, metavar="EPOCHS")
    parser.add_argument("save_every", type=int, nargs="?", default=1, metavar="SAVE_EVERY", help="epochs (1)")
    parser.add_argument("--rgb", type=Path, required=True, metavar="DIR", help="video/img_00000.jpg or video files")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="video.npy, one row a clip")
    parser.add_argument("--batch-size", "--batch_size", type=int, default=32, metavar="N", help="clips (32)")
    parser.add_argument("--save-path", "--save_path", type=Path, default=Path(), metavar="DIR", help="of checkpoints")
    parser.add_argument("--ckpt", type=Path, metavar="CKPT", help="start from these weights, or resume")
    parser.add_argument("--config", default="base", metavar="base|small|tiny|FILE", help="geometry (base)")
    parser.add_argument("--loss", choices=("mse", "cosine", "normalised"), default="mse")
    parser.add_argument("--amp", action="store_true", help="bfloat16 but for the correlation")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that decode (0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--debug", action="store_true", help=f"a quick run on {DEBUG_VIDEOS} videos")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, printing a line an epoch."""
    import torch

    from trainer.data.rawframes import VALIDATION_VIDEOS, find_videos, with_features
    from trainer.engine.distributed import world
    from trainer.engine.imfe_distil import Distillation, TeacherClips, distil
    from trainer.nets.imfe import Imfe, read_config

    for option, value in (
        ("EPOCHS", args.total_epochs),
        ("SAVE_EVERY", args.save_every),
        ("--batch-size", args.batch_size),
    ):
        if value < 1:
            raise InputError(f"{option} {value}: expected at least 1")
    config = read_config(args.config)
    if config.appearance:
        raise InputError(f"--config {args.config}: a teacher teaches motion; leave 'appearance' out")
    pairs = with_features(find_videos(args.rgb), args.features)
    if args.debug:
        pairs = pairs[:DEBUG_VIDEOS]
    # published: the last 300 videos check; a smaller set gives a tenth
    check = VALIDATION_VIDEOS if len(pairs) > 2 * VALIDATION_VIDEOS else len(pairs) // 10
    split = len(pairs) - check
    training = TeacherClips(pairs[:split], config.height, config.width)
    validation = TeacherClips(pairs[split:], config.height, config.width) if check else None
    settings = Distillation(
        epochs=args.total_epochs,
        save_every=args.save_every,
        batch=args.batch_size,
        loss=args.loss,
        amp=args.amp,
        workers=args.workers,
        seed=args.seed,
    )
    torch.manual_seed(args.seed)

    def report(line: dict[str, float]) -> None:
        print("  ".join(f"{key} {value:.4g}" for key, value in line.items()), flush=True)

    with world() as place:
        distil(Imfe(config), training, validation, settings, args.save_path, place, args.ckpt, report)
