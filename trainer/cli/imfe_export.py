"""``trainer imfe export``: checkpoint -> ``imfe.onnx``."""

from __future__ import annotations

import argparse
from typing import Any

from trainer.cli._options import add_provenance_options, provenance


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="checkpoint -> imfe.onnx, compared with torch before it is written",
        description="Export an IMFE. Published checkpoints load as they are.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help='{"model": state dict, "config": ...}')
    parser.add_argument(
        "--config",
        metavar="base|small|tiny|FILE",
        help="geometry (default: what the checkpoint says of itself, else base, the published one)",
    )
    parser.add_argument(
        "--form",
        choices=("step", "clip"),
        default="step",
        help="step: frame by frame, for edge-run (default); clip: [1,6,3,H,W] -> [1,D], for other runtimes",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="imfe.onnx to write")
    add_provenance_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    from trainer.export import export_clip, export_imfe
    from trainer.nets.imfe import load_imfe, read_config

    model = load_imfe(args.checkpoint, None if args.config is None else read_config(args.config))
    export = {"step": export_imfe, "clip": export_clip}[args.form]
    error = export(model, args.out, args.name, provenance(args))
    print(f"{args.out}: {model.config.name}, within {error:.1e} of torch")
