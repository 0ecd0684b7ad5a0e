"""``trainer imfe extract``: features of whole videos, in the published layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="rawframes_rgb/ or videos -> features/*.npy",
        description="One .npy a video, one row a clip of six frames. What is there is not made again. With a "
        "checkpoint the processes of torchrun share the videos; with an imfe.onnx no torch is needed.",
    )
    parser.add_argument("--data_dir", "--data-dir", type=Path, required=True, metavar="DIR", help="see below")
    parser.add_argument(
        "--checkpoint_path", "--checkpoint-path", type=Path, required=True, metavar="CKPT|ONNX", help="the network"
    )
    parser.add_argument("--regions", action="store_true", help="also NAME.regions.npy, (clips, D, V)")
    parser.add_argument("--device", metavar="cpu|cuda", help="by default a GPU where there is one")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of onnxruntime (%(default)s)")
    parser.epilog = "DIR holds rawframes_rgb/VIDEO/img_00000.jpg, or video files. The results lie in DIR/features."
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Extract, and say how much was done."""
    from trainer.data.rawframes import find_videos
    from trainer.engine.imfe_extract import extract, onnx_extractor, torch_extractor

    data: Path = args.data_dir
    raw = data / "rawframes_rgb"
    videos = find_videos(raw if raw.is_dir() else data)
    if args.checkpoint_path.suffix == ".onnx":
        done = extract(videos, data / "features", onnx_extractor(args.checkpoint_path, args.threads), args.regions)
        unreadable = done["unreadable"]
    else:
        from trainer.engine.distributed import world

        with world(args.device) as place:
            extractor = torch_extractor(args.checkpoint_path, str(place.device))
            done = extract(place.share(videos), data / "features", extractor, args.regions)
            unreadable = sum(place.gather(done["unreadable"]))
    if unreadable == len(videos):
        raise InputError(f"{data}: none of its {len(videos)} videos can be read")
    print("  ".join(f"{key} {value:.4g}" for key, value in done.items()))
