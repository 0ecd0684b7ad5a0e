"""What measuring costs: ``python -m benchmarks.instrumentation [--model FILE|NAME] [--trace]``.

Two answers, both from this run:

- *direct*: the calls that one frame causes (the clock, the tape, and reading it into histograms, misses and worst
  frames; with ``--trace`` the trace), timed alone in a tight loop;
- *paired*: the model's time with all of that against the same model's with none, block by block in turns through the
  same sessions, with the 95 % confidence interval of the ratio over 400 pairs of blocks.

Times are the thread's own CPU time, in which all of it runs: on a machine with neighbours, the clock on the wall would
measure them.

Exit code 1 when a frame costs more than 20 microseconds, or when the interval shows a loss of more than 1 %.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from edge_runtime.bench.compare import in_turns, ratio_to_first
from edge_runtime.bench.replay import Recording, random_skeleton
from edge_runtime.models.metadata import RtStgcnMetadata
from edge_runtime.pipeline.assembly import Models, load_models, open_recogniser
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.clock import system_clock
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.trace import Trace
from edge_runtime.sources.base import Frame
from edge_runtime.sources.demo import DemoSource
from edge_runtime.streams.observer import Observer, ignore

MOST_US_A_FRAME = 20.0
MOST_SHARE = 0.01
PAIRS = 400
_PER_FRAME = ("preprocess", "imfe.encoder", "imfe.motion")
_PER_RESULT = ("imfe.head", "rtstgcn")


class Side:
    """The recogniser with everything that the pipeline measures around it, or with nothing.

    One recogniser for both, since two of the same model differ by more than what is measured here. Nobody changes
    observers in a run, so it is done from inside.
    """

    def __init__(self, recogniser: Recogniser, times: StageTimes | None) -> None:
        self.hop = recogniser.hop
        self._recogniser = recogniser
        self._times = times
        self._observer: Observer = ignore if times is None else times.lap

    def step(self, frame: Frame) -> object:
        if frame.index == 0:
            self._observe()
        times = self._times
        if times is None:
            return self._recogniser.step(frame)
        captured_ns = system_clock()
        times.take(frame.index, captured_ns)
        opinions = self._recogniser.step(frame)
        if opinions:
            known_ns = system_clock()
            times.whole(WHOLE, captured_ns, known_ns)
            times.tell("sinks", known_ns, system_clock(), frame.index)
        return opinions

    def _observe(self) -> None:
        """The block that begins is this side's."""
        parts: list[object] = [self._recogniser]
        while parts:
            part = parts.pop()
            for name, value in list(vars(part).items()):
                if name in ("_observe", "_observer"):
                    setattr(part, name, self._observer)
                elif name in ("_imfe", "_head", "_gcn"):
                    parts.append(value)
                elif name == "_heads":
                    parts += value


def direct_us(times: StageTimes, hop: int, frames: int = 60_000) -> float:
    """Microseconds a frame of the calls alone: the median of ten rounds."""
    rounds = []
    for _ in range(10):
        begun = time.thread_time_ns()
        for index in range(frames // 10):
            captured_ns = system_clock()
            times.take(index, captured_ns)
            for stage in _PER_FRAME:
                times.lap(stage)
            if index % hop == 0:
                for stage in _PER_RESULT:
                    times.lap(stage)
                times.whole(WHOLE, captured_ns, system_clock())
                times.tell("sinks", captured_ns, system_clock(), index)
        rounds.append((time.thread_time_ns() - begun) / (frames // 10) / 1e3)
    return statistics.median(rounds)


def watched(trace: Path | None, fps: float, hop: int) -> StageTimes:
    """Stage times that go where ``edge-run`` sends them."""
    times = StageTimes()
    StageMonitor(Budgets.derive(fps, hop), times)
    if trace is not None:
        Trace(trace, times)
    return times


def paired(
    models: Models, recording: Recording, trace: Path | None, seconds: float
) -> tuple[float, float, float, float]:
    """Milliseconds a frame unmeasured, and the ratio of measured to unmeasured time with its interval."""
    recogniser, _ = open_recogniser(models, observe=ignore)
    times = watched(trace, models.fps, recogniser.hop)
    sides = [Side(recogniser, None), Side(recogniser, times)]
    table, _ = in_turns(sides, recording, seconds=seconds, rounds=PAIRS, clock=time.thread_time_ns)
    return (statistics.median(table[:, 0]), *ratio_to_first(table, 1))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instrumentation", description="What measuring costs.")
    parser.add_argument("--model", default="demo", help="imfe.onnx, rtstgcn.onnx or a zoo name (default: demo)")
    parser.add_argument("--head", help="as edge-run")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of the paired measurement (default 60)")
    parser.add_argument("--trace", action="store_true", help="as edge-run --trace: every stage of every frame kept too")
    options = parser.parse_args()
    models = load_models(options.model, options.head)
    metadata = models.main.metadata
    if isinstance(metadata, RtStgcnMetadata):
        recording = random_skeleton(metadata)
    else:
        recording = Recording.of(DemoSource(), models.fps)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json" if options.trace else None
        cost_us = direct_us(watched(trace, models.fps, hop=6), hop=6)
        bare_ms, ratio, low, high = paired(models, recording, trace, options.duration)
    print(f"direct   {cost_us:6.2f} us a frame (at most {MOST_US_A_FRAME:g})")
    print(f"         {cost_us / bare_ms / 10:6.2f} % of this model's {bare_ms:.2f} ms a frame")
    print(f"paired   {ratio - 1:+6.2%} time a frame, 95 % interval {low - 1:+.2%} to {high - 1:+.2%}")
    print(f"         {(ratio - 1) * bare_ms * 1e3:6.1f} us a frame, caches cold after the network")
    return int(cost_us > MOST_US_A_FRAME or low > 1 + MOST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
