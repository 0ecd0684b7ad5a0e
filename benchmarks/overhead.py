"""``python -m benchmarks.overhead``: what the runtime itself costs, start-up and memory included.

The same video through the same networks twice, in turns:

    bare       a loop without a pipeline: decode, resize, networks, one after another on one thread
    edge-run   the pipeline: threads, queues, stage times, events, segments and JSON lines on disk

*CPU a frame* is the processor time of the whole process; their difference is the overhead, whatever ran in parallel
and whatever else the machine did. *Wall a frame* less the time inside decoding, resizing and the networks is printed
too: it is below zero where the pipeline decodes one frame while the networks work on the one before.

Start-up is a new process, from its launch to the first result on its standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.pipeline.assembly import Models, load_models, open_recogniser
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import choose
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sinks.jsonl import JsonLines
from edge_runtime.sources.base import Frame
from edge_runtime.sources.demo import DemoSource
from edge_runtime.sources.video import VideoSource
from edge_runtime.streams import RtStgcnStream, open_motion_stream

NETWORKS = ("imfe.encoder", "imfe.motion", "imfe.head", "rtstgcn")


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds a frame."""

    wall: float
    cpu: float
    inside: float  # decoding, resizing, and inside the networks


class TimedVideo(VideoSource):
    """A video that knows how long it decoded."""

    decode_ns = 0

    def read(self) -> Frame | None:
        begun = time.perf_counter_ns()
        frame = super().read()
        self.decode_ns += time.perf_counter_ns() - begun
        return frame


def bare(models: Models, video: Path) -> Cost:
    """The loop that a person writes first."""
    metadata = models.main.metadata
    assert isinstance(metadata, ImfeMetadata | ClipMetadata) and models.head is not None
    imfe, gcn = open_motion_stream(models.main), RtStgcnStream(models.head)
    preprocess = Preprocessor(metadata.height, metadata.width)
    capture = cv2.VideoCapture(str(video))
    frames = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while True:
        more, image = capture.read()
        if not more:
            break
        out = imfe.step(preprocess(image))
        if out is not None:
            gcn.step(out.regions)
        frames += 1
    taken = 1000 * (time.perf_counter() - wall) / frames
    return Cost(taken, 1000 * (time.process_time() - cpu) / frames, taken)


def run(models: Models, video: Path, out: Path) -> Cost:
    """The pipeline of edge-run."""
    times = StageTimes()
    inside: Counter[str] = Counter()
    times.watch(lambda found: inside.update({stage: int((p.ends - p.starts).sum()) for stage, p in found.items()}))
    recogniser, _ = open_recogniser(models, observe=times.lap)
    source = TimedVideo(video)
    pipeline = Pipeline(
        source,
        Lineup({"main": recogniser}),
        [JsonLines(str(out))],
        chosen=choose("block", live=False, hop=recogniser.hop, clip_length=recogniser.clip_length),
        times=times,
        monitor=StageMonitor(Budgets.derive(recogniser.fps, recogniser.hop), times),
    )
    wall, cpu = time.perf_counter(), time.process_time()
    frames = pipeline.run().frames["captured"]
    taken = 1000 * (time.perf_counter() - wall) / frames
    spent = source.decode_ns + inside["preprocess"] + sum(inside[stage] for stage in NETWORKS)
    return Cost(taken, 1000 * (time.process_time() - cpu) / frames, spent / frames / 1e6)


def make_video(path: Path, seconds: float, fps: float) -> Path:
    """The demo's figure, 640x480."""
    with DemoSource() as source:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (640, 480))
        for _ in range(round(seconds * fps)):
            frame = source.read()
            if frame is None:
                break
            writer.write(np.asarray(frame.data, np.uint8))
        writer.release()
    return path


def start_up(model: str) -> tuple[float, float]:
    """Seconds from launch to the first result: by the clock, and of processor time until there."""
    before = _children_cpu()
    begun = time.perf_counter()
    command = [sys.executable, "-m", "edge_runtime.cli.run", "--demo", "--model", model, "--out", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "result":
                break
        taken = time.perf_counter() - begun
        process.kill()
    return taken, _children_cpu() - before


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_rss_mb(model: str) -> float:
    """Largest resident size of a whole demo run, MiB."""
    command = [sys.executable, "-m", "edge_runtime.cli.run", "--demo", "--model", model, "--out", os.devnull]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="an imfe.onnx with rtstgcn.onnx beside it, or a zoo name")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    memory = peak_rss_mb(options.model)
    starts = [start_up(options.model) for _ in range(options.rounds)]
    models = load_models(options.model, None)
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder) / "video.mp4", 20, models.fps)
        bares, runs = [], []
        for _ in range(options.rounds):
            bares.append(bare(models, video))
            runs.append(run(models, video, Path(folder) / "out.jsonl"))

    def median(values: list[float]) -> float:
        return statistics.median(values)

    overheads = [r.cpu - b.cpu for r, b in zip(runs, bares, strict=True)]
    print(f"model {options.model}, one thread, 640x480; medians of {options.rounds} rounds in turns\n")
    rest = median([r.wall - r.inside for r in runs])
    print(f"{'ms a frame':<36}{'bare':>9}{'edge-run':>10}")
    print(f"{'wall':<36}{median([b.wall for b in bares]):9.3f}{median([r.wall for r in runs]):10.3f}")
    print(f"{'CPU':<36}{median([b.cpu for b in bares]):9.3f}{median([r.cpu for r in runs]):10.3f}")
    print(f"{'overhead: CPU, edge-run less bare':<36}{'':9}{median(overheads):10.3f}   wanted below 1")
    print(f"{'wall less decode, resize, networks':<36}{'':9}{rest:10.3f}   wanted below 1")
    wall, cpu = (median([pair[i] for pair in starts]) for i in (0, 1))
    print(f"\nlaunch to first result  {wall:6.2f} s   wanted below 3; {cpu:.2f} s of it on a processor")
    print(f"peak resident size      {memory:6.0f} MiB  wanted below 250")


if __name__ == "__main__":
    main()
