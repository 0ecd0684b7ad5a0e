"""How far months of streaming are from the network that was trained: ``python -m benchmarks.drift [--steps N]``.

A network is stepped for millions of frames through the runtime. At regular moments its logits are compared with the
offline network, in float64, on the last receptive field alone: what it should say had it just been started. Before
each comparison but one window away lies an outburst: a hundred frames ten thousand times too large.

Prints the largest error of each tenth of the run as it goes: with a plain running sum it grows, here it must not.
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


def drift(model: RtStgcn, steps: int) -> None:
    """Step ``steps`` frames, comparing ``COMPARISONS`` times, and print what was found."""
    with tempfile.TemporaryDirectory() as folder:
        stream = RtStgcnStream(exported(model, Path(folder) / "rtstgcn.onnx"))
    model = model.double()
    field = stream.receptive_field
    # a phase swaps its sum within one ring after the window has passed: two windows are always enough
    quiet = 2 * field + max(layer.taps * layer.dilation for layer in stream.metadata.layers)
    chunk = max(steps // COMPARISONS, quiet + OUTBURST_FRAMES)
    random = np.random.default_rng(0)
    errors: list[float] = []
    largest = 0.0
    told = 0
    memory: list[float] = []
    start = time.monotonic()
    comparisons = max(steps // chunk, 2)
    for done in range(1, comparisons + 1):
        for left in range(chunk, 0, -10_000):  # in pieces: the input of a million frames would itself fill the memory
            length = min(left, 10_000)
            x = random.standard_normal((length, stream.metadata.in_channels, stream.metadata.graph.num_node))
            x = x.astype(np.float32)
            if left == length:
                if length < quiet + OUTBURST_FRAMES:
                    raise ValueError(f"{chunk} steps between comparisons: the last piece is too short")
                x[-quiet - OUTBURST_FRAMES : -quiet] *= OUTBURST
            logits = stream.steps(x)
        with torch.inference_mode():
            window = torch.from_numpy(x[-field:]).double().permute(1, 0, 2)[None]
            expected = model(window)[0, :, -1].numpy()
        errors.append(float(np.abs(logits[-1] - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
        memory.append(psutil.Process().memory_info().rss / 1e6)
        if 10 * done // comparisons > 10 * (done - 1) // comparisons:
            print(
                f"  after {done * chunk:>12,} steps: largest error {max(errors[told:]):.1e}, {memory[-1]:.1f} MB",
                flush=True,
            )
            told = done
    hours = (time.monotonic() - start) / 3600
    settled = len(memory) // 10  # the allocator's first growth is no leak
    slope = (memory[-1] - memory[settled]) / (hours * (1 - settled / len(memory)))
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
