"""``trainer rtstgcn export``: configuration and checkpoint -> ``rtstgcn.onnx``."""

from __future__ import annotations

import argparse
from typing import Any

from trainer.cli._options import add_provenance_options, provenance


def add_parser(subparsers: Any, name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="configuration and checkpoint -> rtstgcn.onnx, compared with torch before it is written",
        description="Export a graph network that sees no future as a step graph for edge-run. Published configurations "
        "load as they are.",
        epilog="examples:\n  %(prog)s --config results/config.json --checkpoint results/best.pt --out rtstgcn.onnx",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="JSON configuration")
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help='{"model_state_dict": state dict}')
    parser.add_argument("--out", required=True, metavar="FILE", help="rtstgcn.onnx to write")
    parser.add_argument("--graph", metavar="FILE", help="graph (default: the configuration's)")
    parser.add_argument("--labels", metavar="FILE", help="action list, one class a line (default: the configuration's)")
    parser.add_argument("--fps", type=float, help="steps a second of the training data (default: the configuration's)")
    parser.add_argument("--source", choices=("skeleton", "regions"), help="what it is fed (default: as configured)")
    parser.add_argument("--background", metavar="LABEL", help="the label that means that no action is going on")
    add_provenance_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and say what was written."""
    import dataclasses

    from trainer.export import export_rtstgcn
    from trainer.nets.family import load_network

    model = load_network(args.config, args.checkpoint, args.labels, args.graph)
    given = {key: getattr(args, key) for key in ("fps", "source", "background") if getattr(args, key) is not None}
    model.config = dataclasses.replace(model.config, **given)
    error = export_rtstgcn(model, args.out, args.name or "rtstgcn", provenance(args))
    print(
        f"{args.out}: {len(model.config.labels)} classes, receptive field {model.receptive_field} steps, "
        f"delay {model.delay}, within {error:.1e} of torch"
    )
