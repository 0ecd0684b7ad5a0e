"""A training step of the published RT-ST-GCN against the published way to train it: ``python -m benchmarks.training``.

The baseline is eager torch in the manner of the published code: frames channel-first, the unbiased LayerNorm written
out, and the window sum a product with an L x L Toeplitz matrix. Both have the same parameters and compute the same
gradients, which is checked first. Steps alternate, so that a busy machine slows both; peak memory is that of a process
that does nothing else. The last table shows that our step's cost is linear in L.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.networks import LABELS, published_rtstgcn
from trainer import heap
from trainer.nets.layers import FrameNorm
from trainer.nets.rtstgcn import Layer, RtStgcn

LENGTHS = (500, 1000)
LINEAR = (500, 1000, 2000, 4000)
ROUNDS = 5
MB = 1024  # /proc counts in kB

Forward = Callable[[Tensor], Tensor]


def toeplitz_forward(network: RtStgcn) -> Forward:
    """The network's forward in the published manner: (1, C, L, V) -> (1, classes, L)."""

    def norm(x: Tensor, parameters: FrameNorm) -> Tensor:
        mean, variance = x.mean((1, 3), keepdim=True), x.var((1, 3), keepdim=True)
        return (x - mean) / torch.sqrt(variance + parameters.EPS) * parameters.weight + parameters.bias

    def apply(layer: Layer, x: Tensor) -> Tensor:
        A = network.A if layer.edge_importance is None else network.A * layer.edge_importance
        parts = F.conv2d(x, layer.conv.weight, layer.conv.bias).chunk(len(A), dim=1)
        h = torch.stack([part @ a for part, a in zip(parts, A, strict=True)]).sum(0)
        L = x.shape[2]
        age = torch.arange(L)[:, None] - torch.arange(L)
        taps, dilation = layer.config.taps, layer.config.dilation
        window = ((age >= 0) & (age < taps * dilation) & (age % dilation == 0)).float()
        total = window @ h  # (L, L) x (1, C, L, V)
        frame_norm = layer.bn_relu[0]
        assert isinstance(frame_norm, FrameNorm)
        y = F.relu(norm(total, frame_norm))
        if layer.residual is not None:
            assert isinstance(layer.residual.norm, FrameNorm)
            x = norm(F.conv2d(x, layer.residual.conv.weight), layer.residual.norm)
        return F.relu(y + x)

    def forward(x: Tensor) -> Tensor:
        assert isinstance(network.norm_in, FrameNorm)
        y = F.conv2d(norm(x, network.norm_in), network.fcn_in.weight, network.fcn_in.bias)
        for layer in network.layers:
            y = apply(layer, y)
        return F.conv2d(y.mean(3, keepdim=True), network.fcn_out.weight, network.fcn_out.bias)[..., 0]

    return forward


def step(network: RtStgcn, forward: Forward, length: int) -> None:
    """One forward and backward pass over a trial."""
    random = torch.Generator().manual_seed(length)
    x = torch.randn(1, network.config.in_channels, length, network.config.graph.num_node, generator=random)
    labels = torch.randint(len(LABELS), (1, length), generator=random)
    network.zero_grad()
    F.cross_entropy(forward(x), labels).backward()  # type: ignore[no-untyped-call]


def gradients_agree(network: RtStgcn, length: int = 200) -> float:
    """Largest difference of the two gradients, over the largest gradient."""
    found = []
    for forward in (network, toeplitz_forward(network)):
        step(network, forward, length)
        found.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


def seconds(network: RtStgcn, forwards: list[Forward], length: int, rounds: int) -> list[float]:
    """Median time of a step of each, taken in turns."""
    times: list[list[float]] = [[] for _ in forwards]
    for round_ in range(rounds + 1):
        for forward, taken in zip(forwards, times, strict=True):
            begun = time.perf_counter()
            step(network, forward, length)
            if round_:  # the first one warms up
                taken.append(time.perf_counter() - begun)
    return [statistics.median(taken) for taken in times]


def peak_memory(manner: str, gamma: int, length: int) -> float:
    """MB that one step adds to a fresh process."""
    command = [sys.executable, "-m", "benchmarks.training", "--measure", manner, str(gamma), str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(manner: str, gamma: int, length: int) -> None:
    """Print what ``peak_memory`` wants to know; runs in its process."""
    network = published_rtstgcn(gamma).train()
    step(network, network if manner == "ours" else toeplitz_forward(network), 8)  # libraries load on first use
    print(peak_of(lambda: step(network, network if manner == "ours" else toeplitz_forward(network), length)))


def peak_of(work: Callable[[], object]) -> float:
    """MB by which this process's memory grows beyond its present size while it does ``work`` (Linux)."""

    def status(field: str) -> int:
        """A field of this process's status, in kB."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    work()
    return (status("VmHWM") - before) / MB


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gamma", type=int, default=69, help="published window (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="steps of each (default: %(default)s)")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    heap.keep_freed()  # as ``trainer rtstgcn train`` does; for both
    if args.measure:
        measure(args.measure[0], int(args.measure[1]), int(args.measure[2]))
        return
    network = published_rtstgcn(args.gamma).train()
    print(f"RT-ST-GCN as published for PKU-MMD, window {args.gamma}, one trial a step, one thread")
    print(f"gradients agree to {gradients_agree(network):.1e}\n")
    print(f"{'L':>6} {'Toeplitz s':>11} {'ours s':>8} {'faster':>7} {'Toeplitz MB':>12} {'ours MB':>8} {'memory':>7}")
    for length in LENGTHS:
        theirs, ours = seconds(network, [toeplitz_forward(network), network], length, args.rounds)
        memory = [peak_memory(manner, args.gamma, length) for manner in ("toeplitz", "ours")]
        print(
            f"{length:6} {theirs:11.3f} {ours:8.3f} {theirs / ours:6.1f}x "
            f"{memory[0]:12.0f} {memory[1]:8.0f} {memory[1] / memory[0]:6.2f}x"
        )
    print(f"\n{'L':>6} {'ours s':>8} {'us a frame':>11}")
    for length in LINEAR:
        (ours,) = seconds(network, [network], length, max(1, args.rounds // 2))
        print(f"{length:6} {ours:8.3f} {1e6 * ours / length:11.0f}")


if __name__ == "__main__":
    main()
