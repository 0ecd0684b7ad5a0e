"""``python -m benchmarks.streaming``: an IMFE as a stream against the same network run clip by clip.

The same weights in several programs, in turns on the same frames, so that whatever else the machine does meets all:

    clip, published   one graph: six frames in, all-pairs correlation and its compression as the publication has them
    clip, fused       one graph: six frames in, correlation and compression as one product (docs/networks.md)
    stream            the runtime: each frame encoded once, each pair compared once, the head once a hop
    stream, 2 lanes   the same for a file's frames, which wait for it: two encoded side by side

*After the last frame* is what a user waits for: from the clip's last frame being there until its feature is. A clip
graph can begin only then; a file has no such moment. *Frames a second* is what each could sustain with a result every
``hop`` frames.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.stages import Frames, side_by_side
from edge_runtime.streams import ClipStream, ImfeStream
from edge_runtime.streams.threads import LANES
from trainer.export.imfe import export_imfe
from trainer.nets.imfe import CONFIGS, Imfe

IN_LANES = f"stream, {LANES} lanes"


class PublishedClip(nn.Module):
    """Clip in, feature out, as the published exporter writes it."""

    def __init__(self, imfe: Imfe, pair: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.imfe = imfe
        self.pair = pair

    def forward(self, clip: Tensor) -> Tensor:
        fmaps = self.imfe.encode(clip[0])  # (clip, C, h, w): all frames as one batch
        pairs = [self.pair(fmaps[i : i + 1], fmaps[i + 1 : i + 2]) for i in range(len(fmaps) - 1)]
        return self.imfe.head(torch.cat(pairs, 1))[0]


@dataclass
class Times:
    """Seconds of each repetition."""

    last: list[float] = field(default_factory=list)  # from the last frame to the feature
    hop: list[float] = field(default_factory=list)  # all work of one hop

    @property
    def last_ms(self) -> float:
        return 1000 * statistics.median(self.last)

    def frames_per_s(self, hop: int) -> float:
        return hop / statistics.median(self.hop)


def make(imfe: Imfe, folder: Path) -> dict[str, Path]:
    """The programs as model files."""
    config = imfe.config
    paths = {"clip, published": folder / "published.onnx", "clip, fused": folder / "fused.onnx"}
    clip = torch.zeros(1, config.clip_length, 3, config.height, config.width)
    warnings.simplefilter("ignore")  # of torch's exporter, about shapes that are constant here
    for path, pair in zip(paths.values(), (imfe.pair_naive, imfe.pair), strict=True):
        torch.onnx.export(PublishedClip(imfe, pair), (clip,), str(path), opset_version=17, dynamo=False)
    paths["stream"] = folder / "imfe.onnx"
    export_imfe(imfe, paths["stream"])
    return paths


def timed(step: Callable[[Frames], object], frames: Frames, times: Times) -> None:
    """Feed one hop's frames, which complete a clip."""
    begun = time.perf_counter()
    for frame in frames[:-1]:
        step(frame)
    last = time.perf_counter()
    step(frames[-1])
    done = time.perf_counter()
    times.last.append(done - last)
    times.hop.append(done - begun)


def compare(paths: dict[str, Path], frames: Frames, hop: int, threads: int, rounds: int) -> dict[str, Times]:
    """Each program's times for ``rounds`` hops, taken in turns; in lanes, of all frames at once."""
    programs: dict[str, ClipStream | ImfeStream] = {
        name: (ImfeStream if name == "stream" else ClipStream)(path, hop=hop, threads=threads)
        for name, path in paths.items()
    }
    clip_length = programs["stream"].receptive_field
    features = {name: [program.step(frame) for frame in frames[:clip_length]][-1] for name, program in programs.items()}
    found = [out.features for out in features.values() if out is not None]
    error = max(float(np.abs(f - found[0]).max() / np.abs(found[0]).max()) for f in found)
    assert len(found) == len(programs) and error < 1e-3, f"the programs do not compute the same: {error:.1e}"
    in_lanes = ImfeStream(paths["stream"], hop=hop, threads=threads, lanes=LANES)
    times = {name: Times() for name in (*programs, IN_LANES)}
    position = clip_length
    for _ in range(rounds):
        batch = np.take(frames, range(position, position + hop), axis=0, mode="wrap")
        for name, program in programs.items():
            timed(program.step, batch, times[name])
        begun = time.perf_counter()
        side_by_side(in_lanes, frames, LANES)
        times[IN_LANES].hop.append((time.perf_counter() - begun) * hop / len(frames))
        position += hop
    return times


def print_comparison(config_name: str, threads: int, rounds: int) -> None:
    """Latency and throughput of the programs at three hops, random weights and frames."""
    torch.manual_seed(0)
    imfe = Imfe(CONFIGS[config_name]).eval()
    config = imfe.config
    frames = np.random.default_rng(0).integers(0, 256, (18, config.height, config.width, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        paths = make(imfe, Path(folder))
        print(f"\nstream and clip models, {config.name}, {threads} threads, {rounds} hops each: medians;")
        print("ratios to the published clip graph in the same run")
        print(f"{'hop':>3}  {'program':<16}{'after the last frame':>22}{'ratio':>8}{'frames a second':>18}{'ratio':>8}")
        for hop in (config.clip_length, 3, 1):
            times = compare(paths, frames, hop, threads, rounds)
            base = times["clip, published"]
            for name, taken in times.items():
                waited = f"{taken.last_ms:19.1f} ms{base.last_ms / taken.last_ms:7.2f}x" if taken.last else ""
                rate, base_rate = taken.frames_per_s(hop), base.frames_per_s(hop)
                print(f"{hop:3d}  {name:<16}{waited:30}{rate:18.2f}{rate / base_rate:7.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12, help="hops timed for each")
    options = parser.parse_args()

    logging.disable(logging.WARNING)  # that a clip model would be faster as a stream is what is shown here
    torch.set_num_threads(options.threads)
    print_comparison(options.config, options.threads, options.rounds)


if __name__ == "__main__":
    main()
