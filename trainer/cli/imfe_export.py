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
        description="Export an IMFE as a step graph for edge-run. Published checkpoints load as they are.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help='{"model": state dict, "config": ...}')
    parser.add_argument(
        "--config",
        metavar="base|small|tiny|FILE",
        help="geometry (default: what the checkpoint says of itself, else base, the published one)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="imfe.onnx to write")
    add_provenance_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    from trainer.export import export_imfe
    from trainer.nets.imfe import load_imfe, read_config

    model = load_imfe(args.checkpoint, None if args.config is None else read_config(args.config))
    error = export_imfe(model, args.out, args.name, provenance(args))
    print(f"{args.out}: {model.config.name}, within {error:.1e} of torch")
