"""``trainer prepare``: a published dataset -> the trainer's directory layout."""

from __future__ import annotations

import argparse
from pathlib import Path

DATASETS = ("hugadb", "utkinect", "penn", "sp_sw_har", "fall_openpose", "pku-mmd", "imu-fog-it")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="lay a published dataset out for training",
        description="Write DIR/actions.txt, DIR/train and DIR/val from the files that a dataset's authors publish.",
        epilog="examples:\n  %(prog)s hugadb --source downloads/ --out data/hugadb --val 07,11,14",
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--source", type=Path, required=True, metavar="PATH", help="the published files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--val", metavar="A,B,...", help="subjects (or views) that validate; the usual ones by default")
    parser.add_argument("--protocol", help="pku-mmd: cross-view (default) or cross-subject")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare one dataset."""
    import importlib

    from trainer.data.prepare import write

    module = importlib.import_module(f"trainer.data.prepare.{args.dataset.replace('-', '_')}")
    val = frozenset(item.strip() for item in args.val.split(",")) if args.val is not None else None
    count = write(module, args.source, args.out, val, args.protocol)
    print(f"{args.out}: {count['train']} trials to train, {count['val']} to validate")
    return 0
