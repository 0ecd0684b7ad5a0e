"""``python -m benchmarks.hour --model MODEL``: an hour's frames through ``edge-run``, as fast as they go.

A real video, decoded again and again, 108,000 frames of it (an hour at 30 a second), through a whole ``edge-run``, a
process of its own. What comes out: whether every frame is accounted for, and the slope of its resident set after a
tenth of the run, by least squares over the frames.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.networks import random_imfe
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.zoo import open_model
from edge_runtime.quantization.frames import read_clips
from edge_runtime.quantization.imfe import quantize_imfe
from trainer.nets.imfe import CONFIGS

HOUR = 108_000  # frames, at 30 a second
SAMPLES = 300
WARM_UP = 0.1  # of the run: caches fill, the allocator learns
MOST_SLOPE_MB = 1.0  # an hour


@dataclass(frozen=True, slots=True)
class Found:
    """``sizes`` are (frame, resident MB) along the run."""

    summary: dict[str, Any]
    sizes: list[tuple[int, float]]
    frame_ms: float

    @property
    def slope_mb(self) -> float:
        """Megabytes an hour at 30 frames a second."""
        return slope(self.sizes) * HOUR

    @property
    def exact(self) -> bool:
        """Whether every frame captured was processed or dropped for a reason."""
        frames = self.summary["frames"]
        return bool(frames["captured"] == frames["processed"] + sum(frames["dropped"].values()))


def first_video(path: Path) -> Path:
    """``path`` itself, or the first file of that folder."""
    return min(path.iterdir()) if path.is_dir() else path


def slope(sizes: list[tuple[int, float]]) -> float:
    """MB a frame after the warm-up, by least squares."""
    frames, resident = np.array(sizes).T
    later = frames >= WARM_UP * frames[-1]
    return float(np.polyfit(frames[later], resident[later], 1)[0])


def run(model: Path, video: Path, frames: int) -> Found:
    """A whole ``edge-run`` of a looped video, its results read as they come."""
    command = [sys.executable, "-m", "edge_runtime.cli.run", "--video", str(video), "--loop"]
    command += ["--max-frames", str(frames), "--model", str(model), "--head", "none", "--out", "-"]
    sizes: list[tuple[int, float]] = []
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "start":
                begun = time.perf_counter()
            elif event["event"] == "features" and event["frame"] >= len(sizes) * frames / SAMPLES:
                sizes.append((event["frame"], watched.memory_info().rss / 1e6))
    if process.returncode or event["event"] != "summary":
        raise SystemExit(f"edge-run ended with {process.returncode} and without a summary")
    return Found(event, sizes, 1e3 * (time.perf_counter() - begun) / frames)


def print_hour(model: Path, video: Path, frames: int) -> bool:
    """Whether the frames are accounted for and the memory is flat."""
    found = run(model, video, frames)
    first, *_, last = (size for frame, size in found.sizes if frame >= WARM_UP * frames)
    print(
        f"{frames:,} frames through edge-run, {found.frame_ms:.2f} ms each: {found.summary['frames']}, "
        f"results {found.summary['results']:,}\n"
        f"resident set {first:.1f} MB after a tenth, {last:.1f} at the end, most {max(s for _, s in found.sizes):.1f}; "
        f"slope {found.slope_mb:+.2f} MB an hour of 30 frames a second (wanted below {MOST_SLOPE_MB:g})",
        flush=True,
    )
    return found.exact and found.slope_mb < MOST_SLOPE_MB


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hour", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="tiny", help="with random weights")
    parser.add_argument("--int8", action="store_true", help="quantized with frames of the video")
    parser.add_argument("--model", metavar="FILE|NAME", help="instead of random weights")
    parser.add_argument("--video", metavar="FILE|DIR", type=Path, help="(default: the first of EDGE_DATA's at 640x480)")
    parser.add_argument("--frames", type=int, default=HOUR)
    options = parser.parse_args()
    video = first_video(options.video or Path(os.environ.get("EDGE_DATA", "../shared/data")) / "asl_gestures_intel")
    with tempfile.TemporaryDirectory() as name:
        file = open_model(options.model) if options.model else random_imfe(options.config, Path(name))
        path = file.path
        assert isinstance(file.metadata, ImfeMetadata)
        if options.int8:
            path = Path(name) / "int8.onnx"
            clips = read_clips(str(video), file.metadata, clips=8)
            path.write_bytes(quantize_imfe(file, clips, "static", say=lambda _: None).file.data)
        print(f"{file.metadata.name} {'int8' if options.int8 else file.metadata.precision}, {video.name}")
        sys.exit(0 if print_hour(path, video, options.frames) else 1)


if __name__ == "__main__":
    main()
