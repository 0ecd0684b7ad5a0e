"""``trainer rtstgcn benchmark``: what a network costs and scores on a device, in fp32 and int8, in one table."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from trainer.cli._graph import Run, add_run_options, open_run, open_split

if TYPE_CHECKING:
    from trainer.data.skeletons import LabelArray, TrialSet

MODES = ("dynamic", "static")
TIMED_FRAMES = 2000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        name,
        help="accuracy, latency, size, MACs and state of the exported network, fp32 and int8",
        description="Export the network, quantize it, and stream the split through edge_runtime with each file. "
        "'agreement' is the share of frames that get the label of the fp32 file of the same weights. Leaves "
        "benchmark.json and the files in the out folder.",
    )
    add_run_options(parser)
    parser.add_argument("--checkpoint", type=Path, metavar="CKPT", help="weights; by default best.pt in the out folder")
    parser.add_argument("--qat", type=Path, metavar="CKPT", help="weights that were trained with optimizer.qat, beside")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], metavar="ONNX", help="one more file to compare"
    )
    parser.add_argument("--split", default="val", help="part of the dataset (default: %(default)s)")
    parser.add_argument("--trials", type=int, metavar="N", help="only the first N trials")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, quantize, stream, and print the table."""
    opened = open_run(args)
    trials = open_split(opened, args.split)[: args.trials]
    out = opened.training.data.out / "benchmark"
    out.mkdir(parents=True, exist_ok=True)
    families = [_family(opened, args.checkpoint or opened.training.data.out / "best.pt", trials, out)]
    if args.qat:
        families.append(_family(opened, args.qat, trials, out, "-qat"))
    rows = [row for family in [*families, *([file] for file in args.model)] for row in _rows(family, opened, trials)]
    (out / "benchmark.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    widths = {key: max(len(key), *(len(_shown(row[key])) for row in rows)) for key in rows[0]}
    for cells in ({key: key for key in widths}, *rows):
        print("  ".join(_shown(cells[key]).rjust(width) for key, width in widths.items()))
    return 0


def _family(opened: Run, weights: Path, trials: TrialSet, out: Path, suffix: str = "") -> list[Path]:
    """The fp32 file of some weights, and what edge-quantize makes of it."""
    fp32 = _exported(opened, weights, out / f"fp32{suffix}.onnx")
    return [fp32, *(_quantized(fp32, mode, trials, out / f"int8-{mode}{suffix}.onnx") for mode in MODES)]


def _exported(opened: Run, weights: Path, file: Path) -> Path:
    from trainer.engine.evaluation import load_weights
    from trainer.export import describe, export_rtstgcn

    load_weights(opened.net, weights)
    export_rtstgcn(opened.net, file, provenance=describe(weights, None, None, None))
    return file


def _quantized(model: Path, mode: str, trials: TrialSet, file: Path) -> Path:
    """What edge-quantize makes of ``model``, calibrated on the first trial."""
    import numpy as np

    from edge_runtime.cli.quantize import main as quantize

    sample = file.with_suffix(".npy")
    np.save(sample, np.asarray(trials[0].features, dtype=np.float32))
    command = [str(model), "--mode", mode, "--out", str(file)]
    if quantize([*command, "--calibrate", str(sample)]):
        raise InputError(f"edge-quantize --mode {mode} failed, see above")
    sample.unlink()
    return file


def _rows(files: list[Path], opened: Run, trials: TrialSet) -> Iterator[dict[str, Any]]:
    """Scores and costs of the files of one network; the first is the one that the others should agree with."""
    reference = None
    for file in files:
        row, labels = _row(file, opened, trials)
        reference = labels if reference is None else reference
        yield {"model": row.pop("model"), "agreement": float((labels == reference).mean()), **row}


def _row(file: Path, opened: Run, trials: TrialSet) -> tuple[dict[str, Any], LabelArray]:
    """Scores and costs of one file, and the labels that it gave."""
    import numpy as np

    from edge_runtime import RtStgcnStream
    from trainer.engine.evaluation import streamed_logits
    from trainer.metrics import Scores

    labels: list[LabelArray] = []
    scores = Scores(len(opened.labels), opened.fps, opened.training.data.iou_threshold, opened.net.delay)
    predict = streamed_logits(file, opened.labels)
    for trial in trials:
        logits = predict(trial.features)
        scores.add(logits, trial.labels)
        labels.append(logits.argmax(0))
    metrics = scores.result()
    stream = RtStgcnStream(file)
    row = {
        "model": file.name,
        "accuracy": metrics["accuracy"],
        "f1@50": metrics["f1@50"],
        "pooled_f1@50": metrics["pooled_f1@50"],
        "edit": metrics["edit"],
        "ms a frame": _milliseconds(stream, trials),
        "kB": round(file.stat().st_size / 1000),
        "MMAC a frame": opened.net.macs / 1e6,
        "state kB": round(stream.state_bytes / 1000),
    }
    return row, np.concatenate(labels)


def _milliseconds(stream: Any, trials: TrialSet) -> float:
    """Median time of a step on one core."""
    import numpy as np

    frames = np.moveaxis(np.asarray(trials[0].features, dtype=np.float32), 1, 0)
    frames = np.ascontiguousarray(frames[np.arange(TIMED_FRAMES) % len(frames)])
    spent = []
    for frame in frames:
        begun = time.perf_counter_ns()
        stream.step(frame)
        spent.append(time.perf_counter_ns() - begun)
    return float(np.median(spent)) / 1e6


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
