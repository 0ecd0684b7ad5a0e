"""``edge-quantize MODEL --mode dynamic|static|auto --out FILE``: a smaller model, with what it costs and gains."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.options import OneLineParser, thread_count, whole_number
from edge_runtime.errors import InputError
from edge_runtime.models import zoo
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata, RtStgcnMetadata
from edge_runtime.quantization.rtstgcn import Quantized, quantize_rtstgcn
from edge_runtime.sinks.base import check_folder
from edge_runtime.sources.skeleton import map_npy

_DESCRIPTION = """\
Quantize a model to int8 and measure it here. The original is not touched.

  dynamic   activations' ranges measured at every run: nothing to calibrate
  static    ranges learnt from --calibrate
  auto      each product in the form that is fastest here, less those that change the answer: keeps only what wins
  fp16      not int8: for an IMFE on a GPU provider
"""

_EXAMPLES = """\
examples:
  edge-quantize imfe.onnx --mode auto --calibrate clips/ --out imfe.int8.onnx          for edge-run --precision int8
  edge-quantize rtstgcn.onnx --mode dynamic --out rtstgcn.int8.onnx                     nothing to calibrate
  edge-quantize rtstgcn.onnx --mode auto --calibrate data/train/features --out rtstgcn.int8.onnx
"""


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``edge-quantize``."""
    parser = OneLineParser(
        "edge-quantize",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="an fp32 .onnx file or the name of a packaged model")
    parser.add_argument("--mode", choices=("dynamic", "static", "auto", "fp16"), required=True)
    parser.add_argument(
        "--calibrate",
        metavar="DATA",
        help="real input: for a graph network .npy (C, L, V[, M]), raw units, or a folder of them; "
        "for an IMFE a video, a folder of videos or pictures, or camera[:N]",
    )
    parser.add_argument("--head", metavar="FILE", help="graph network behind an IMFE, for the agreement of labels")
    parser.add_argument(
        "--clips", type=whole_number, default=48, help="clips of --calibrate that an IMFE sees (default 48)"
    )
    parser.add_argument(
        "--threads", type=thread_count, default=1, help="threads when timing a graph network (default 1)"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    args = parser.parse_args(argv)

    original = zoo.open_model(args.model)
    if args.out.resolve() == original.path.resolve():
        raise InputError(f"--out {args.out}: is the original, which is kept; name another file")
    check_folder("--out", args.out)  # now, not when minutes of calibration are over
    if args.mode == "fp16":
        from edge_runtime.quantization.half import to_fp16

        data, report = to_fp16(original).data, f"wrote   {args.out}: fp16"
    elif isinstance(original.metadata, RtStgcnMetadata):
        trials = _read_trials(Path(args.calibrate)) if args.calibrate else None
        result = quantize_rtstgcn(original, args.mode, trials, threads=args.threads)
        data, report = result.file.data, _report(original, result, args.out)
    elif isinstance(original.metadata, ImfeMetadata):
        data, report = _quantize_imfe(original, original.metadata, args)
    else:
        raise InputError(f"{original.path}: cannot quantize a model of kind '{original.metadata.kind}'")
    partial = args.out.with_name(f"{args.out.name}.partial")  # a full disk leaves no half a model under a model's name
    try:
        partial.write_bytes(data)
        partial.replace(args.out)
    except OSError as error:
        raise InputError(f"--out {args.out}: cannot write: {error.strerror}") from None
    print(report)
    return 0


def _quantize_imfe(original: ModelFile, metadata: ImfeMetadata, args: argparse.Namespace) -> tuple[bytes, str]:
    from edge_runtime.quantization.frames import read_clips
    from edge_runtime.quantization.imfe import quantize_imfe

    if args.calibrate is None:
        raise InputError("an IMFE needs real frames to calibrate and check on: --calibrate VIDEO|DIR|camera")
    beside = zoo.head_beside(original.path)
    head = zoo.open_model(args.head) if args.head else zoo.open_model(beside) if beside else None
    clips = read_clips(args.calibrate, metadata, clips=args.clips)
    outcome = quantize_imfe(original, clips, args.mode, head=head, say=print)
    before, after, parity = len(original.data), len(outcome.file.data), outcome.parity
    agreement = "" if parity.agreement is None else f", label agreement {100 * parity.agreement:.2f} %"
    lines = [
        "",
        f"wrote   {args.out}: {outcome.file.metadata.precision}",
        f"size    {before / 1e6:.3f} -> {after / 1e6:.3f} MB ({after / before:.2f}x)",
        f"parity  features' cosine to fp32 mean {parity.cosine_mean:.5f}, 1st percentile {parity.cosine_p1:.5f}"
        f"{agreement} of {parity.clips} clips",
    ]
    return outcome.file.data, "\n".join(lines)


def _read_trials(path: Path) -> list[npt.NDArray[np.number[Any]]]:
    """Each body of each recording as a trial (L, C, V), read where it is looked at."""
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"--calibrate {path}: the folder holds no .npy file; name a dataset's features, or one trial")
    recordings = [np.moveaxis(map_npy(file), 1, 0) for file in files]  # (L, C, V[, M])
    bodies = [[trial] if trial.ndim == 3 else list(np.moveaxis(trial, -1, 0)) for trial in recordings]
    return [trial for recording in bodies for trial in recording]


def _report(original: ModelFile, result: Quantized, out: Path) -> str:
    before, after = len(original.data), len(result.file.data)
    parity, speed = result.parity, result.speed
    lines = [
        f"{choice.output} {choice.shape[0]} x {choice.shape[1]}: {choice.form}, {choice.why}"
        for choice in result.choices
    ]
    where = "" if result.on_data else " on random input, which says little: give --calibrate"
    lines += [
        "",
        f"wrote   {out}: {result.file.metadata.precision}",
        f"size    {before / 1e6:.3f} -> {after / 1e6:.3f} MB ({after / before:.2f}x)",
        f"parity  max logit error {parity.max_error:.4g} (largest logit {parity.largest:.4g}), "
        f"label agreement {100 * parity.agreement:.2f} % of {parity.steps} steps{where}",
        f"speed   {speed.median_us[0]:.0f} -> {speed.median_us[1]:.0f} us a step, {speed.ratio[1]:.2f}x "
        "(medians of runs taken in turn, on this machine)",
    ]
    if result.file.metadata.precision == "fp32":
        lines.append("kept    fp32: int8 does not win here; the speed above is that of the candidate given up")
    return "\n".join(lines)
