"""``trainer rtstgcn test``: score a trained network, in torch or as the exported file that a device runs."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import InputError
from trainer.cli._graph import Run, add_run_options, open_run, open_split

if TYPE_CHECKING:
    from trainer.engine.evaluation import Result
    from trainer.metrics import Scores


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="score a trained network on labelled streams",
        description="Score; leaves metrics.json, trials.csv, confusion.csv, confusion.png and the segmentation of the "
        "demo trials (mask_NAME.png) in the out folder.",
        epilog="examples:\n  %(prog)s --config config.json --data data/hugadb --out results\n"
        "  %(prog)s --config config.json --data data/hugadb --out results --exported rtstgcn.onnx",
    )
    add_run_options(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, metavar="CKPT", help="weights; by default best.pt in the out folder")
    source.add_argument(
        "--exported", type=Path, metavar="ONNX", help="score this file instead, streamed frame by frame"
    )
    parser.add_argument("--split", default="val", help="part of the dataset (default: %(default)s)")
    parser.add_argument("--demo", metavar="I,J,...", help="trials to draw; by default the configuration's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Score, print the metrics, and write them."""
    from trainer.engine import plots
    from trainer.engine.distributed import world
    from trainer.engine.evaluation import checkpoint_logits, score, streamed_logits

    opened = open_run(args)
    training = opened.training
    trials = open_split(opened, args.split)
    demo = _demo(args.demo, training.data.demo, len(trials))
    out = training.data.out / "test"
    with world(args.device) as place:
        if args.exported:
            predict = streamed_logits(args.exported, opened.labels)
        else:
            weights = args.checkpoint or training.data.out / "best.pt"
            predict = checkpoint_logits(opened.net, weights, training, place)
        results = list(score(predict, trials, place))
    if not place.is_main:
        return 0
    total, rows = _tables(opened, results)
    out.mkdir(parents=True, exist_ok=True)
    metrics = total.result()
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    _write_csv(out / "trials.csv", [list(rows[0]), *([*row.values()] for row in rows)])
    counts = total.confusion
    rows_of_counts = ([label, *map(int, line)] for label, line in zip(opened.labels, counts, strict=True))
    _write_csv(out / "confusion.csv", [["true \\ predicted", *opened.labels], *rows_of_counts])
    plots.confusion(out / "confusion.png", counts, opened.labels)
    for index in demo:
        name, logits, truth = results[index]
        plots.segmentation(out / f"mask_{name}.png", name, truth, logits.argmax(0), opened.labels, opened.fps)
    for name, value in metrics.items():
        print(f"{name:>20}  {value:.4f}")
    print(f"{out}: {len(results)} trials")
    return 0


def _demo(given: str | None, configured: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Which trials to draw; a configuration may name more than this split has."""
    if given is None:
        return tuple(index for index in configured if index < count)
    try:
        indices = tuple(int(item) for item in given.split(",") if item.strip())
    except ValueError as error:
        raise InputError(f"--demo: expected trial numbers such as 0,3,7, found {given!r}") from error
    if wrong := [index for index in indices if not 0 <= index < count]:
        raise InputError(f"--demo: trial {wrong[0]} is not there, the split has {count} (0 to {count - 1})")
    return indices


def _tables(opened: Run, results: Sequence[Result]) -> tuple[Scores, list[dict[str, object]]]:
    """Metrics over all trials, and one row a trial."""
    from trainer.metrics import Scores

    settings = len(opened.labels), opened.fps, opened.training.data.iou_threshold, opened.net.delay
    total, rows = Scores(*settings), []
    for name, logits, truth in results:
        one = Scores(*settings)
        one.add(logits, truth)
        total.merge(one)
        rows.append({"trial": name, "frames": len(truth), **one.result()})
    return total, rows


def _write_csv(file: Path, lines: Sequence[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(lines)
