"""The claims about the RT-ST-GCN engine, measured in one run: ``python -m benchmarks.rtstgcn``.

The published network (25 joints, 9 layers, 52 classes, windows Γ = 9 and 69), exported with random weights and
stepped through ``edge_runtime``. Things that are compared take turns, and a ratio is the median of the turns' ratios.
One thread unless a row says otherwise, in time that the thread ran: other processes take turns on its core, and then do
not count. Drift and memory over millions of steps are measured by ``benchmarks.drift``.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.eager import AsPublished, OwnStep
from benchmarks.networks import (
    exported,
    published_aagcn,
    published_costgcn,
    published_rtstgcn,
    published_shiftgcn,
    published_stgcn,
)
from edge_runtime import RtStgcnBatch, RtStgcnStream
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.inspection import inspect
from edge_runtime.models.session import Binding, open_session, tensor
from edge_runtime.quantization.matmul import alone, find, quantize
from edge_runtime.quantization.measure import Paired, clock_of, take_turns
from edge_runtime.quantization.rtstgcn import quantize_rtstgcn
from trainer.nets.rtstgcn import RtStgcn

NODES = 25
PEAK_SIDE = 512  # of the square product that shows what the machine can do
BLOCK = 10  # steps a turn where the two sides are of very different size
X = np.random.default_rng(0).standard_normal((3, NODES)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.rtstgcn", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="turns of the fast comparisons")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"onnxruntime {ort.__version__}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        network = published_rtstgcn(9)
        fp32 = load_model(exported(network, Path(folder) / "9.onnx"))
        wide = load_model(exported(published_rtstgcn(69), Path(folder) / "69.onnx"))
        int8 = quantize_rtstgcn(fp32, "dynamic").file
        print(f"\n{'claim':<62}{'measured':>22}   target")
        step_cost(network, fp32, wide, int8, rounds)
        for threads in (1, 2):
            batch_cost(fp32, int8, rounds // 5, threads)
        neighbours(fp32, wide, Path(folder), max(rounds // 20, 10))
        sizes(fp32, wide, int8)
        roofline(fp32, int8, rounds)


def turns_of(things: Sequence[Callable[[], object]], rounds: int, threads: int = 1) -> Paired:
    return take_turns(things, rounds, clock_ns=clock_of(threads))


def row(claim: str, measured: str, target: str = "") -> None:
    print(f"{claim:<62}{measured:>22}   {target}", flush=True)


def step_cost(network: RtStgcn, fp32: ModelFile, wide: ModelFile, int8: ModelFile, rounds: int) -> None:
    """One step against the bare graph, against int8, against a longer window, against eager torch."""
    streams = {name: RtStgcnStream(file) for name, file in (("9", fp32), ("69", wide), ("int8", int8))}
    step = {name: stepper(stream) for name, stream in streams.items()}
    turns = turns_of([bare(fp32), step["9"]], rounds)
    row("step, fp32", f"{turns.median_us[1]:.0f} us")
    row("step / bare run of the same graph", f"{1 / turns.ratio[1]:.3f}x", "<= 1.15x")
    turns = turns_of([step["9"], step["69"]], rounds)
    row("step at window 69 / at window 9", f"{1 / turns.ratio[1]:.3f}x", "within 5 %")
    turns = turns_of([step["9"], step["int8"]], rounds)
    row("step, int8 dynamic", f"{turns.median_us[1]:.0f} us")
    row("fp32 / int8 dynamic", f"{turns.ratio[1]:.2f}x", ">= 1.25x")
    x = torch.from_numpy(X)[None]
    for manner, theirs, target in (
        ("as published", AsPublished(network), ">= 10x"),
        ("our trainer's own step", OwnStep(network), ""),
    ):
        turns = in_blocks(step["9"], lambda eager=theirs: eager.step(x), max(rounds // 20, 10))  # type: ignore[misc]
        row(f"eager torch, {manner} ({turns.median_us[1] / BLOCK:.0f} us) / step", f"{1 / turns.ratio[1]:.1f}x", target)
    for name, shown in (("9", "fp32"), ("int8", "int8")):
        times = [turns_of([step[name]], 1).median_us[0] for _ in range(10 * rounds)]
        p50, p99 = np.percentile(times, (50, 99))
        row(f"p99 / p50, {shown} ({p50:.0f} us, {len(times)} steps)", f"{p99 / p50:.2f}x", "<= 1.5x")


def batch_cost(fp32: ModelFile, int8: ModelFile, rounds: int, threads: int) -> None:
    """Eight skeletons in one call against eight calls."""
    x = np.stack([X] * 8)
    for shown, file in (("fp32", fp32), ("int8", int8)):
        single, batch = RtStgcnStream(file, threads=threads), RtStgcnBatch(file, 8, threads=threads)
        turns = turns_of([repeat(stepper(single), 8), lambda b=batch: b.step(x)], rounds, threads)  # type: ignore[misc]
        row(
            f"8 single steps / batch of 8, {shown}, {threads} thread{'s'[: threads - 1]}",
            f"{turns.ratio[1]:.2f}x",
            "> 1x",
        )


def neighbours(fp32: ModelFile, wide: ModelFile, folder: Path, blocks: int) -> None:
    """The networks it is judged against, in the same runtime."""
    for gamma, ours, target in ((9, fp32, ">= 3x"), (69, wide, ">= 12x")):
        theirs = load_model(exported(published_costgcn(gamma), folder / f"costgcn{gamma}.onnx"))
        turns = in_blocks(stepper(RtStgcnStream(ours)), stepper(RtStgcnStream(theirs)), blocks)
        row(
            f"CoST-GCN / RT-ST-GCN, window {gamma} ({turns.median_us[1] / BLOCK / 1e3:.1f} ms)",
            f"{1 / turns.ratio[1]:.1f}x",
            target,
        )
        costs(f"CoST-GCN, window {gamma}", theirs)
    few = max(blocks // 5, 4)
    for name, network, count in (
        ("Shift-GCN, shifts of 8 frames", published_shiftgcn(), blocks),
        ("ST-GCN over 50 frames", published_stgcn(), few),
        ("AAGCN over 50 frames", published_aagcn(), few),
    ):
        other = load_model(exported(network, folder / "other.onnx"))
        turns = in_blocks(stepper(RtStgcnStream(fp32)), stepper(RtStgcnStream(other)), count)
        row(f"{name} / RT-ST-GCN ({turns.median_us[1] / BLOCK / 1e3:.1f} ms)", f"{1 / turns.ratio[1]:.1f}x")
        costs(name, other)


def sizes(fp32: ModelFile, wide: ModelFile, int8: ModelFile) -> None:
    """What the model and its state weigh."""
    costs("RT-ST-GCN, window 9", fp32)
    costs("RT-ST-GCN, window 69", wide)
    for file in (fp32, wide):
        layers = file.metadata.layers  # type: ignore[union-attr]
        words = sum(layer.out_channels * NODES * (layer.taps + 2) * layer.dilation for layer in layers)
        row("state allocated / words of the design", f"{RtStgcnStream(file).state_bytes / (4 * words):.3f}x", "1x")
    row("file, int8 dynamic / fp32", f"{len(int8.data) / len(fp32.data):.3f}x", "<= 0.36x")


def costs(name: str, file: ModelFile) -> None:
    report = inspect(file)
    state = RtStgcnStream(file).state_bytes
    row(
        f"{name}: MAC a step, weights, state",
        f"{report.costs['step'].macs / 1e6:.1f} M, {len(file.data) / 1e6:.1f} MB, {state / 1e6:.2f} MB",
    )


def roofline(fp32: ModelFile, int8: ModelFile, rounds: int) -> None:
    """What the step's products reach beside what they could: alone with everything in cache, and a large square one."""
    macs = inspect(fp32).costs["step"].macs
    steps = turns_of([stepper(RtStgcnStream(fp32)), stepper(RtStgcnStream(int8))], rounds)
    shapes = [(product.inner, product.outer) for product in find(fp32.proto)]
    for i, shown in enumerate(("fp32", "int8")):
        alone_us = sum(product_us(NODES, *shape, quantized=bool(i)) for shape in shapes)
        alone = NODES * sum(inner * outer for inner, outer in shapes) / alone_us / 1e3
        peak = PEAK_SIDE**3 / product_us(PEAK_SIDE, PEAK_SIDE, PEAK_SIDE, quantized=bool(i)) / 1e3
        whole = macs / steps.median_us[i] / 1e3
        row(
            f"roofline {shown}: step | its products alone | {PEAK_SIDE}^3 product",
            f"{whole:.1f} | {alone:.1f} | {peak:.1f}",
            f"GMAC/s; step at {whole / alone:.0%} of its products, {whole / peak:.0%} of the peak",
        )


def stepper(stream: RtStgcnStream) -> Callable[[], object]:
    return lambda: stream.step(X)


def repeat(thing: Callable[[], object], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            thing()

    return repeated


def bare(file: ModelFile) -> Callable[[], object]:
    """The graph alone: every tensor bound once, always the same memory."""
    session = open_session(file.data)
    binding = Binding(session)
    for value in session.ort.get_inputs():
        binding.bind_input(value.name, tensor(np.zeros([dim or 1 for dim in session.shape(value.name)], np.float32)))
    for value in session.ort.get_outputs():
        binding.bind_output(value.name, tensor(np.zeros([dim or 1 for dim in session.shape(value.name)], np.float32)))
    return binding.run


def in_blocks(ours: Callable[[], object], theirs: Callable[[], object], blocks: int) -> Paired:
    """Turns of ``BLOCK`` runs each: step by step the larger of two would empty the cache for the smaller."""
    return turns_of([repeat(ours, BLOCK), repeat(theirs, BLOCK)], blocks)


def product_us(rows: int, inner: int, outer: int, *, quantized: bool) -> float:
    """Median time of one MatMul (rows, inner) x (inner, outer) alone, in fp32 or dynamic int8."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, rows, inner)).astype(np.float32)
    weight = random.standard_normal((inner, outer)).astype(np.float32)
    model = alone(weight, rows)
    if quantized:
        model = quantize(model, dynamic=["y"])
    binding = Binding(open_session(model.SerializeToString()))
    binding.bind_input("x", tensor(x))
    binding.bind_output("y", tensor(np.zeros((1, rows, outer), np.float32)))
    return turns_of([binding.run], 50).median_us[0]


if __name__ == "__main__":
    main()
