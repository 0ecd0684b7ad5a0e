"""``python -m benchmarks.imfe``: what an IMFE costs on this machine, fp32 and int8, stage by stage.

1. *Stages*: fp32 and int8 in turns on the same real frames: milliseconds, speed-up, GMAC/s beside the machine's peak.
2. *Frame*: what a frame costs on average at each hop, and that rate as a multiple of 30 frames a second.
3. *Parity* of the int8 model and what ``edge-quantize`` decided.
4. *Memory*: resident set of a process that streams the model, one process each.
5. *OpenVINO*, where it is installed: the same stage graphs in its own runtime, in turns with ours.
6. *Other devices*: frames a second on a Raspberry Pi by MACs and this machine's efficiency. An estimate, labelled so.

Weights are random unless ``--model`` names a file: they change no time. ``python -m benchmarks.streaming`` compares the
stream with clip models; ``edge-bench`` measures a whole live run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from benchmarks.peak import efficiency, gemm_peak
from edge_runtime.models.file import ModelFile, load_model
from edge_runtime.models.inspection import inspect
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.session import open_session
from edge_runtime.models.stages import cut
from edge_runtime.models.zoo import open_model
from edge_runtime.pipeline.timing import Passes, StageTimes
from edge_runtime.quantization.frames import read_clips
from edge_runtime.quantization.imfe import Outcome, quantize_imfe
from edge_runtime.quantization.measure import take_turns
from edge_runtime.streams import ImfeStream
from trainer.export import export_imfe
from trainer.nets.imfe import CONFIGS, Imfe

Frames = npt.NDArray[np.uint8]
STAGES = ("encoder", "motion", "head")

# Peak fp32 GMAC/s of one core, from clock x 8 multiply-adds a cycle (two 128-bit NEON pipes of 4): Arm's optimisation
# guides for Cortex-A76 (2.4 GHz, Pi 5) and Cortex-A72 (one such pipe; 1.8 GHz, Pi 4).
PI_PEAK = {"Raspberry Pi 5": 2.4 * 8, "Raspberry Pi 4": 1.8 * 4}


@dataclass
class Timed:
    """A stream with the seconds that each stage took, run by run."""

    stream: ImfeStream
    times: StageTimes
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    @classmethod
    def open(cls, file: ModelFile, hop: int, threads: int) -> Timed:
        spent: dict[str, list[float]] = {stage: [] for stage in STAGES}

        def watch(found: Mapping[str, Passes]) -> None:
            for stage, passes in found.items():
                spent[stage.removeprefix("imfe.")] += ((passes.ends - passes.starts) / 1e9).tolist()

        times = StageTimes()
        times.watch(watch)
        return cls(ImfeStream(file, hop=hop, threads=threads, observer=times.lap), times, spent)

    def median_ms(self, stage: str) -> float:
        return 1e3 * statistics.median(self.stages[stage])


def in_turns(files: list[ModelFile], frames: Frames, hop: int, threads: int, rounds: int) -> list[Timed]:
    """Stream the same frames through each model, a hop at a time."""
    timed = [Timed.open(file, hop, threads) for file in files]
    for i in range(rounds):
        for each in timed:
            for k in range(hop):
                each.times.resume()
                each.stream.step(frames[(i * hop + k) % len(frames)])
            each.times.deliver()
    return timed


def per_frame(timed: Timed, metadata: ImfeMetadata, hop: int) -> float:
    """Seconds a frame on average: an encoder each, the pairs that are needed, a head each hop."""
    pairs = min(hop, metadata.clip_length - 1) / hop
    medians = {stage: statistics.median(spent) for stage, spent in timed.stages.items()}
    return medians["encoder"] + pairs * medians["motion"] + medians["head"] / hop


def print_stages(fp32: Timed, int8: Timed, file: ModelFile, threads: int) -> None:
    costs = inspect(file).costs
    peaks = [gemm_peak(threads, int8=kind) for kind in (False, True)]
    print(f"\nGEMM peak of this machine, {threads} threads: {peaks[0]:.0f} GMAC/s fp32, {peaks[1]:.0f} int8")
    print(
        f"{'stage':<10}{'MMAC':>8}{'fp32 ms':>10}{'int8 ms':>10}{'speed-up':>10}"
        f"{'GMAC/s (of peak) fp32':>24}{'int8':>16}"
    )
    for stage in STAGES:
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


def print_openvino(files: dict[str, ModelFile], frames: Frames, threads: int, rounds: int) -> None:
    """Each stage in onnxruntime and in OpenVINO, in turns on the same inputs."""
    try:
        import openvino
    except ImportError:
        print("\nOpenVINO is not installed (pip install openvino): left out")
        return
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    print(f"\n{'OpenVINO ' + openvino.__version__[:9]:<20}{'onnxruntime ms':>16}{'OpenVINO ms':>13}{'ours / its':>12}")
    for precision, file in files.items():
        metadata = file.metadata
        assert isinstance(metadata, ImfeMetadata)
        stages = {stage: cut(file.proto, metadata.stages[stage]).SerializeToString() for stage in STAGES}
        feeds = _stage_inputs(stages, metadata, frames[: metadata.clip_length])
        for stage, data in stages.items():
            session = open_session(data, threads=threads).ort
            request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
            runs = [partial(session.run, None, feeds[stage]), partial(request.infer, feeds[stage])]
            paired = take_turns(runs, rounds)
            ours, theirs = (us / 1e3 for us in paired.median_us)
            print(f"{precision + ' ' + stage:<20}{ours:>16.2f}{theirs:>13.2f}{paired.ratio[1]:>12.2f}")


def _stage_inputs(
    stages: dict[str, bytes], metadata: ImfeMetadata, clip: Frames
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """What each stage is fed with at the end of a clip."""
    encoder, motion = (open_session(stages[name]).ort for name in ("encoder", "motion"))
    fmaps = [encoder.run(None, {"frame": frame[None]})[0] for frame in clip]
    pairs = [motion.run(None, {"previous_fmap": a, "fmap": b})[0] for a, b in pairwise(fmaps)]
    return {
        "encoder": {"frame": clip[-1][None]},
        "motion": {"previous_fmap": fmaps[-2], "fmap": fmaps[-1]},
        "head": {metadata.stages["head"].inputs[0]: np.concatenate(pairs, axis=1)},
    }


def print_devices(file: ModelFile, metadata: ImfeMetadata, frames: Frames, rounds: int) -> None:
    """One thread here, and what the same part of its peak would be on a Pi's four cores."""
    timed = in_turns([file], frames, metadata.clip_length, 1, rounds)[0]
    costs = inspect(file).costs
    here = gemm_peak(1, int8=False)
    rates = {}
    for device, peak in PI_PEAK.items():
        cost = {
            stage: costs[stage].macs / (efficiency(costs[stage].macs, timed.stages[stage], here)[1] * peak * 1e9)
            for stage in STAGES
        }
        clip = metadata.clip_length
        rates[device] = 1 / (cost["encoder"] + (clip - 1) / clip * cost["motion"] + cost["head"] / clip)
    cells = "  ".join(f"{stage} {timed.median_ms(stage):.2f}" for stage in STAGES)
    frame_ms = 1e3 * per_frame(timed, metadata, metadata.clip_length)
    estimate = ", ".join(f"{device} {rate:.0f}" for device, rate in rates.items())
    print(f"one thread, fp32, ms a run: {cells}; {frame_ms:.2f} ms a frame")
    print(f"estimated frames a second of one core, by MACs and the efficiency above (not measured): {estimate}")


def random_model(config: str, folder: Path) -> ModelFile:
    torch.manual_seed(0)
    path = folder / f"{config}.onnx"
    export_imfe(Imfe(CONFIGS[config]).eval(), path)
    return load_model(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imfe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", choices=CONFIGS, default="base")
    parser.add_argument("--model", metavar="FILE|NAME", help="instead of random weights")
    parser.add_argument(
        "--video", metavar="FILE|DIR", help="real frames (default: the first of EDGE_DATA's at 640x480)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="hops timed for each")
    options = parser.parse_args()
    data = Path(os.environ.get("EDGE_DATA", "../shared/data"))
    video = options.video or str(data / "asl_gestures_intel")
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = open_model(options.model) if options.model else random_model(options.config, folder)
        metadata = file.metadata
        assert isinstance(metadata, ImfeMetadata)
        clips = read_clips(video, metadata, clips=32)
        frames = np.concatenate(clips)
        print(f"{metadata.name}, {metadata.height}x{metadata.width}, {len(frames)} frames of {video}")
        begun = time.perf_counter()
        outcome = quantize_imfe(file, clips, "static", say=lambda _: None)
        int8_path = folder / "int8.onnx"
        onnx.save(outcome.file.proto, int8_path)
        print(
            f"quantized (static) in {time.perf_counter() - begun:.0f} s; {len(file.data) / 1e6:.1f} -> "
            f"{len(outcome.file.data) / 1e6:.1f} MB"
        )
        fp32, int8 = in_turns(
            [file, load_model(int8_path)], frames, metadata.clip_length, options.threads, options.rounds
        )
        print_stages(fp32, int8, file, options.threads)
        print_hops(fp32, int8, metadata)
        print_parity(outcome)
        memory = [resident_mb(path, options.threads) for path in (file.path, int8_path)]
        print(f"\nresident set: fp32 {memory[0]:.0f} MB, int8 {memory[1]:.0f} MB")
        print_openvino({"fp32": file, "int8": outcome.file}, frames, options.threads, options.rounds)
        print()
        print_devices(file, metadata, frames, options.rounds)


if __name__ == "__main__":
    main()
