"""``python -m benchmarks.imfe``: what is claimed of IMFE's speed and memory, measured on this machine.

For each configuration, fp32 and static int8 in turns on the same real frames:

1. *Stages*: milliseconds, speed-up, GMAC/s beside the machine's peak.
2. *Hops*: what a frame costs on average at each, and that rate as a multiple of 30 frames a second.
3. *Parity* of the int8 model and what ``edge-quantize`` decided.
4. *Memory*: resident set of a process that streams the model, one process each.
5. *Threads*: what ``--threads auto`` takes here, for a camera and for a file.
6. *Live*: a minute at 30 frames a second, open-loop, through the pipeline of ``edge-run``: drops, capture to result.
7. *Clip models*: the stream against the same network clip by clip (``benchmarks.streaming``).
8. *OpenVINO*, where it is installed: the same stage graphs in its own runtime.
9. *An hour's frames* through ``edge-run``, where asked for with ``--frames 108000`` (``benchmarks.hour``): every frame
   accounted for, memory flat.

Then one table of all of them on one thread, with frame rates to expect of a Raspberry Pi (``benchmarks.devices``).
Weights are random unless ``--model`` names a file: they change no time. ``--config base`` takes five minutes.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.devices import Row, print_devices
from benchmarks.hour import first_video, print_hour
from benchmarks.networks import random_imfe
from benchmarks.openvino import print_openvino
from benchmarks.peak import efficiency, gemm_peak
from benchmarks.stages import Timed, in_turns, per_frame
from benchmarks.streaming import print_comparison
from edge_runtime.bench.measure import Engine, single_stream
from edge_runtime.bench.replay import Recording
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.inspection import inspect
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.zoo import open_model
from edge_runtime.pipeline.assembly import Models
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.quantization.frames import read_clips, sources_of
from edge_runtime.quantization.imfe import Outcome, quantize_imfe
from edge_runtime.streams.threads import choose_threads
from trainer.nets.imfe import CONFIGS

OFFERED_FPS = 30.0


def print_stages(fp32: Timed, int8: Timed, file: ModelFile, threads: int) -> None:
    costs = inspect(file).costs
    peaks = [gemm_peak(threads, int8=kind) for kind in (False, True)]
    print(f"\nGEMM peak of this machine, {threads} threads: {peaks[0]:.0f} GMAC/s fp32, {peaks[1]:.0f} int8")
    print(
        f"{'stage':<10}{'MMAC':>8}{'fp32 ms':>10}{'int8 ms':>10}{'speed-up':>10}"
        f"{'GMAC/s (of peak) fp32':>24}{'int8':>16}"
    )
    for stage in fp32.stages:
        macs = costs[stage].macs
        cells = [efficiency(macs, timed.stages[stage], peak) for timed, peak in zip((fp32, int8), peaks, strict=True)]
        ratio = fp32.median_ms(stage) / int8.median_ms(stage)
        shown = [f"{rate:.0f} ({100 * part:.0f} %)" for rate, part in cells]
        print(
            f"{stage:<10}{macs / 1e6:>8.1f}{fp32.median_ms(stage):>10.2f}{int8.median_ms(stage):>10.2f}{ratio:>9.2f}x"
            f"{shown[0]:>24}{shown[1]:>16}"
        )


def print_hops(fp32: Timed, int8: Timed, metadata: ImfeMetadata) -> None:
    print(f"\n{'hop':<6}{'fp32 ms/frame':>14}{'int8 ms/frame':>15}{'speed-up':>10}{'int8 rate / 30 FPS':>20}")
    for hop in sorted(metadata.hops):
        a, b = (per_frame(timed, metadata, hop) for timed in (fp32, int8))
        print(f"{hop:<6}{1e3 * a:>14.2f}{1e3 * b:>15.2f}{a / b:>9.2f}x{1 / (30 * b):>20.2f}")


def print_parity(outcome: Outcome) -> None:
    parity = outcome.parity
    print(
        f"\nparity on {parity.clips} clips: cosine of features mean {parity.cosine_mean:.5f}, "
        f"1st percentile {parity.cosine_p1:.5f}"
    )
    for stage, choice in outcome.chosen.items():
        print(
            f"  {stage}: {choice.how}, cosine {choice.cosine:.5f}, in fp32: {', '.join(choice.kept_float) or 'nothing'}"
        )


_STREAM = """
import sys, numpy as np, psutil
from edge_runtime.streams import ImfeStream
with ImfeStream(sys.argv[1], hop=6, threads=int(sys.argv[2])) as stream:
    shape = (stream.metadata.height, stream.metadata.width, 3)
    frame = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    for _ in range(24):
        stream.step(frame)
    print(psutil.Process().memory_info().rss / 1e6)
"""


def resident_mb(path: Path, threads: int) -> float:
    """Resident set of a process of its own after four clips."""
    done = subprocess.run(
        [sys.executable, "-c", _STREAM, str(path), str(threads)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def print_threads(files: dict[str, ModelFile]) -> None:
    for precision, file in files.items():
        choice = choose_threads(file, waiting=True)
        tried = ", ".join(f"{count}: {spent:.1f} ms" for count, spent in choice.frame_ms.items())
        print(f"--threads auto, {precision}: {choice.threads} ({tried}); a file's frames in {choice.lanes} lanes")


def print_live(files: dict[str, ModelFile], video: str, threads: int, seconds: float) -> None:
    """Frames of a video as they come from a camera at `OFFERED_FPS`; the newest wins where the network is late."""
    recording = replace(Recording.of(sources_of(video, OFFERED_FPS)[0](), OFFERED_FPS), fps=OFFERED_FPS)
    for precision, file in files.items():
        engine = Engine.open(Models(file, None), hop=None, threads=threads, provider="cpu", spin=False)
        report = single_stream(
            engine,
            recording,
            Budgets.derive(OFFERED_FPS, engine.recogniser.hop),
            seconds=seconds,
            policy="drop-oldest",
            settings={},
            command="",
            sinks=[],
        )
        whole = report["stages"]["capture_to_result"]
        print(
            f"live {precision}, {seconds:g} s at {OFFERED_FPS:g} FPS: {report['frames']}, capture to result "
            f"p50 {whole['p50_ms']:.1f}, p99 {whole['p99_ms']:.1f} ms"
        )


def measure(file: ModelFile, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Print everything about one network; its rows of the last table."""
    metadata = file.metadata
    assert isinstance(metadata, ImfeMetadata)
    clips = read_clips(str(options.video), metadata, clips=32)
    frames = np.concatenate(clips)
    print(f"\n{metadata.name}, {metadata.height}x{metadata.width}, {len(frames)} frames of {options.video}")
    outcome = quantize_imfe(file, clips, "static", say=lambda _: None)
    int8_path = folder / "int8.onnx"
    int8_path.write_bytes(outcome.file.data)
    files = {"fp32": file, "int8": load_model(int8_path)}
    print(f"quantized (static): {len(file.data) / 1e6:.1f} -> {len(outcome.file.data) / 1e6:.1f} MB")
    fp32, int8 = in_turns(list(files.values()), frames, metadata.clip_length, options.threads, options.rounds)
    print_stages(fp32, int8, file, options.threads)
    print_hops(fp32, int8, metadata)
    print_parity(outcome)
    memory = [resident_mb(one.path, options.threads) for one in files.values()]
    print(f"\nresident set: fp32 {memory[0]:.0f} MB, int8 {memory[1]:.0f} MB")
    print_threads(files)
    print_live(files, str(options.video), options.threads, options.seconds)
    print_openvino(files, frames, options.threads, options.rounds)
    for each in files.values() if options.frames else ():
        print(f"\n{each.metadata.name}, {each.metadata.precision}")
        print_hour(each.path, first_video(Path(options.video)), options.frames)
    one, two = (in_turns(list(files.values()), frames, metadata.clip_length, n, options.rounds) for n in (1, 2))
    costs = inspect(file).costs
    return [Row(metadata.name, i == 1, costs, metadata, one[i], two[i]) for i in (0, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imfe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, nargs="+", default=["tiny", "small", "base"])
    parser.add_argument("--model", metavar="FILE|NAME", help="instead of random weights")
    parser.add_argument(
        "--video", metavar="FILE|DIR", help="real frames (default: the first of EDGE_DATA's at 640x480)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="hops timed for each")
    parser.add_argument("--seconds", type=float, default=60, help="of the live run")
    parser.add_argument(
        "--frames", type=int, default=0, help="of a video through edge-run (default: left out; an hour has 108000)"
    )
    options = parser.parse_args()
    data = Path(os.environ.get("EDGE_DATA", "../shared/data"))
    options.video = options.video or data / "asl_gestures_intel"
    logging.disable(logging.WARNING)  # headers that promise more frames than decode
    torch.set_num_threads(1)

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.model:
            rows += measure(open_model(options.model), folder, options)
        for config in [] if options.model else options.config:
            rows += measure(random_imfe(config, folder), folder, options)
            print_comparison(config, options.threads, options.rounds)
    print_devices(rows)


if __name__ == "__main__":
    main()
