"""``trainer imfe teach-tsn``: the published teacher's features, from flow pictures and a TSN checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="a TSN flow checkpoint -> features of unlabelled videos, as published",
        description="Write the 2048 motion features of every clip that 'trainer imfe train --features' takes. Flow "
        "pictures x_00001.jpg and y_00001.jpg beside a video's frames are used; without them flow is computed. What is "
        "there is not made again; the processes of torchrun share the videos.",
    )
    parser.add_argument("--tsn", type=Path, required=True, metavar="CKPT", help="mmaction2's TSN ResNet-50, flow")
    parser.add_argument("--rgb", type=Path, required=True, metavar="DIR", help="video/img_00000.jpg or video files")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="where the rows go")
    parser.add_argument("--device", metavar="cpu|cuda", help="by default a GPU where there is one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Extract, and say how much was done."""
    from trainer.data.rawframes import find_videos
    from trainer.engine.distributed import world
    from trainer.engine.imfe_extract import extract
    from trainer.engine.imfe_teacher import tsn_describer
    from trainer.nets.tsn import load_tsn

    videos = find_videos(args.rgb)
    with world(args.device) as place:
        describe = tsn_describer(load_tsn(args.tsn), place.device)
        done = extract(place.share(videos), args.features, describe, regions=False)
        unreadable = sum(place.gather(done["unreadable"]))
    if unreadable == len(videos):
        raise InputError(f"{args.rgb}: none of its {len(videos)} videos can be read")
    print("  ".join(f"{key} {value:.4g}" for key, value in done.items()))
