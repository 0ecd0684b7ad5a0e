"""``edge-quantize MODEL --mode dynamic|static|auto --out FILE``: a smaller model, with what it costs and gains."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.cli.exits import one_line_errors
from edge_runtime.errors import InputError
from edge_runtime.models import zoo
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import RtStgcnMetadata
from edge_runtime.quantization.rtstgcn import Quantized, quantize_rtstgcn
from edge_runtime.sources.skeleton import open_npy

_DESCRIPTION = """\
Quantize a model to int8 and measure it here. The original is not touched.

  dynamic   activations' ranges measured at every run: nothing to calibrate
  static    ranges learnt from --calibrate
  auto      each product in the form that is fastest here, less those that change the answer: keeps only what wins
"""


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``edge-quantize``."""
    parser = argparse.ArgumentParser(
        "edge-quantize", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="an fp32 .onnx file or the name of a packaged model")
    parser.add_argument("--mode", choices=("dynamic", "static", "auto"), required=True)
    parser.add_argument("--calibrate", metavar="NPY", type=Path, help="real input, (C, L, V[, M]), raw units")
    parser.add_argument("--threads", type=int, default=1, help="threads inside one operator when timing (default 1)")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    args = parser.parse_args(argv)

    original = zoo.open_model(args.model)
    if args.out.resolve() == original.path.resolve():
        raise InputError(f"--out {args.out}: is the original, which is kept; name another file")
    if not isinstance(original.metadata, RtStgcnMetadata):
        raise InputError(f"{original.path}: cannot quantize a model of kind '{original.metadata.kind}'")
    trials = _read_trials(args.calibrate) if args.calibrate else None
    result = quantize_rtstgcn(original, args.mode, trials, threads=args.threads)
    try:
        args.out.write_bytes(result.file.data)
    except OSError as error:
        raise InputError(f"--out {args.out}: cannot write: {error.strerror}") from None
    print(_report(original, result, args.out))
    return 0


def _read_trials(path: Path) -> list[npt.NDArray[np.float32]]:
    """Each body of a recording as a trial (L, C, V)."""
    with open_npy(path, rate=1.0) as source:
        frames = []
        while (frame := source.read()) is not None:
            frames.append(np.asarray(frame.data, np.float32))
    trial = np.stack(frames)  # (L, C, V[, M])
    return [trial] if trial.ndim == 3 else [trial[..., body] for body in range(trial.shape[-1])]


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
