"""``trainer rtstgcn train``: train a graph network on labelled skeleton or sensor streams."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

from trainer.cli._graph import add_run_options, has_split, open_run, open_split

log = logging.getLogger(__name__)

DEBUG_TRIALS, DEBUG_EPOCHS = 4, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="train on labelled streams",
        description="Train; leaves best.pt, last.pt, history.csv, curves.png and TensorBoard files in the out folder. "
        "Start it with torchrun for several processes.",
        epilog="examples:\n  %(prog)s --config config.json --data data/hugadb --out results --debug\n"
        "  %(prog)s --config config.json --data data/hugadb --out results --set optimizer.epochs=20 --resume",
    )
    add_run_options(parser)
    parser.add_argument(
        "--init", type=Path, metavar="CKPT", help="start from these weights, where names and shapes agree"
    )
    parser.add_argument("--resume", action="store_true", help="go on from last.pt in the out folder")
    parser.add_argument("--debug", action="store_true", help="a quick run: 4 trials, 2 epochs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train."""
    from trainer import checkpoint, heap
    from trainer.engine import plots
    from trainer.engine.distributed import world
    from trainer.engine.loop import train, transfer

    opened = open_run(args)
    training = opened.training
    train_set = open_split(opened, "train")
    val_set = open_split(opened, "val") if has_split(opened, "val") else None
    if args.debug:
        train_set, val_set = train_set[:DEBUG_TRIALS], val_set[:DEBUG_TRIALS] if val_set else None
        training = replace(training, optimizer=replace(training.optimizer, epochs=DEBUG_EPOCHS))
    out = training.data.out
    out.mkdir(parents=True, exist_ok=True)
    with world(args.device) as place:
        checkpoint.deterministic()
        heap.keep_freed()
        if place.is_main:
            (out / "config.json").write_text(json.dumps(opened.raw, indent=2) + "\n", encoding="utf-8")
            log.info("%d trials to train, %d to validate", len(train_set), len(val_set or ()))
        net = opened.net.to(place.device)
        if args.init:
            log.info("%d of %d tensors from %s", *transfer(net, args.init), args.init)
        stamp = {"config": opened.raw, "labels": list(opened.labels)}
        progress = train(net, train_set, val_set, training, place, resume=args.resume, fps=opened.fps, stamp=stamp)
        if place.is_main:
            plots.curves(out / "curves.png", progress.history)
            print(f"{out / 'best.pt'}: epoch {progress.best_epoch} of {progress.epoch}")
    return 0
