"""How far months of streaming are from the network that was trained: ``python -m benchmarks.drift [--steps N]``.

A network is stepped for millions of frames through the runtime. At regular moments its logits are compared with the
offline network, in float64, on the last receptive field alone: what it should say had it just been started. Before
each comparison but one window away lies an outburst: a hundred frames ten thousand times too large.

Prints the resident set as it goes and, once the streaming is over (torch's own memory would blur it), the largest error
of each tenth of the run: with a plain running sum it grows, here it must not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.networks import exported, published_rtstgcn, small_rtstgcn
from edge_runtime import RtStgcnStream
from trainer.nets.rtstgcn import RtStgcn

COMPARISONS = 100
OUTBURST = 1e4
OUTBURST_FRAMES = 100
BOUND = 1e-4
PIECE = 10_000  # frames drawn at once


def drift(model: RtStgcn, steps: int) -> None:
    """Step ``steps`` frames, comparing ``COMPARISONS`` times, and print what was found."""
    with tempfile.TemporaryDirectory() as folder:
        stream = RtStgcnStream(exported(model, Path(folder) / "rtstgcn.onnx"))
    field = stream.receptive_field
    # a phase swaps its sum within one ring after the window has passed: two windows are always enough
    quiet = 2 * field + max(layer.taps * layer.dilation for layer in stream.metadata.layers)
    chunk = max(steps // COMPARISONS, quiet + OUTBURST_FRAMES)
    comparisons = max(steps // chunk, 2)
    random = np.random.default_rng(0)
    x = np.empty((PIECE, stream.metadata.in_channels, stream.metadata.graph.num_node), np.float32)
    # the last receptive fields and the logits after them: written now, so that keeping them is no growth later
    windows = np.ones((comparisons, field, *x.shape[1:]), np.float32)
    seen = np.ones((comparisons, len(stream.metadata.labels)), np.float32)
    memory: list[float] = []
    start = time.monotonic()
    for done in range(comparisons):
        for left in range(chunk, 0, -PIECE):  # in pieces: the input of a million frames would itself fill the memory
            piece = random.standard_normal(out=x[: min(left, PIECE)], dtype=np.float32)
            if left <= PIECE:
                if len(piece) < quiet + OUTBURST_FRAMES:
                    raise ValueError(f"{chunk} steps between comparisons: the last piece is too short")
                piece[-quiet - OUTBURST_FRAMES : -quiet] *= OUTBURST
            for frame in piece:
                logits = stream.step(frame)
        windows[done], seen[done] = piece[-field:], logits
        memory.append(psutil.Process().memory_info().rss / 1e6)
        if 10 * (done + 1) // comparisons > 10 * done // comparisons:
            print(f"  after {(done + 1) * chunk:>12,} steps: {memory[-1]:.2f} MB", flush=True)
    hours = (time.monotonic() - start) / 3600
    settled = len(memory) // 10  # the allocator's first growth is no leak
    slope = (memory[-1] - memory[settled]) / (hours * (1 - settled / len(memory)))

    offline = model.double().eval()
    errors = []
    largest = 0.0
    for window, logits in zip(windows, seen, strict=True):
        with torch.inference_mode():
            expected = offline(torch.from_numpy(window).double().permute(1, 0, 2)[None])[0, :, -1].numpy()
        errors.append(float(np.abs(logits - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    tenths = np.array_split(np.array(errors), min(10, len(errors)))
    print("  largest error of each tenth: " + " ".join(f"{tenth.max():.1e}" for tenth in tenths))
    print(
        f"  largest error {max(errors):.2e} (bound {BOUND}; largest logit {largest:.2f}), "
        f"memory {slope:+.3f} MB an hour over {hours:.2f} h",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.drift", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000_000, help="of the small network; a tenth of the published")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, model, steps in (
        ("small network", small_rtstgcn(), args.steps),
        ("published network, window 9", published_rtstgcn(9), args.steps // 10),
    ):
        print(f"{name}: {steps:,} steps", flush=True)
        drift(model, steps)


if __name__ == "__main__":
    main()
