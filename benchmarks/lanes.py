"""``python -m benchmarks.lanes``: how two cores serve an IMFE best when frames wait for it.

One frame after the other with the cores inside each operator; the encoder of the next frame beside motion and head of
this one (a single lane); two frames' encoders side by side (two lanes, what ``--threads auto`` may choose for a file).
All in turns on the same frames, and every way must give the same bits. *Alone* is what a frame takes that ends a hop
and waits for nobody: no way of sharing out frames changes it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.networks import random_imfe
from benchmarks.stages import Frames, side_by_side
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.zoo import open_model
from edge_runtime.quantization.frames import read_clips
from edge_runtime.streams import ImfeOutput, ImfeStream
from trainer.nets.imfe import CONFIGS


@dataclass
class Way:
    """A stream, the frames it may encode beforehand, and the seconds that a frame took in each round."""

    name: str
    stream: ImfeStream
    lanes: int
    frame_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)

    def run(self, frames: Frames) -> list[ImfeOutput]:
        """All of them, as fast as they go."""
        self.stream.reset()
        if not self.lanes:
            return [out for frame in frames if (out := self.stream.step(frame)) is not None]
        return side_by_side(self.stream, frames, self.lanes)

    def time(self, frames: Frames) -> None:
        begun = time.perf_counter()
        self.run(frames)
        self.frame_s.append((time.perf_counter() - begun) / len(frames))
        self.stream.reset()
        for frame in frames[: self.stream.receptive_field - 1]:
            self.stream.step(frame)
        begun = time.perf_counter()
        self.stream.step(frames[-1])
        self.alone_s.append(time.perf_counter() - begun)


def compare(ways: list[Way], frames: Frames, rounds: int) -> None:
    expected = ways[0].run(frames)
    for way in ways:
        for a, b in zip(expected, way.run(frames), strict=True):
            assert np.array_equal(a.features, b.features), f"{way.name}: other bits"
    for _ in range(rounds):
        for way in ways:
            way.time(frames)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="small")
    parser.add_argument("--model", metavar="FILE|NAME", help="instead of random weights in fp32")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    data = Path(os.environ.get("EDGE_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as folder:
        file = open_model(options.model) if options.model else random_imfe(options.config, Path(folder))
    metadata = file.metadata
    assert isinstance(metadata, ImfeMetadata)
    frames = np.concatenate(read_clips(str(data / "asl_gestures_intel"), metadata, clips=2))
    for hop in (metadata.hops[0], 1):
        ways = [
            Way(name, ImfeStream(file, hop=hop, threads=threads, lanes=2), lanes)
            for name, threads, lanes in (
                ("2 threads, one frame after the other", 2, 0),
                ("1 thread, one frame after the other", 1, 0),
                ("1 thread, encoder beside motion and head", 1, 1),
                ("2 threads, encoder beside motion and head", 2, 1),
                ("1 thread, 2 lanes", 1, 2),
                ("2 threads, 2 lanes", 2, 2),
            )
        ]
        compare(ways, frames, options.rounds)
        base = statistics.median(ways[0].frame_s)
        print(f"\n{metadata.name} {metadata.precision}, hop {hop}: medians of {options.rounds} rounds taken in turns")
        print(f"{'':<44}{'ms a frame':>12}{'rate':>8}{'alone ms':>10}")
        for way in ways:
            frame, alone = statistics.median(way.frame_s), statistics.median(way.alone_s)
            print(f"{way.name:<44}{1e3 * frame:>12.2f}{base / frame:>7.2f}x{1e3 * alone:>10.2f}")


if __name__ == "__main__":
    main()
