"""The three measurements of one model, each answering one question.

- `warm_up`, counted nowhere, then `throughput`: how many frames a second when none waits for a camera?
- `single_stream`: what latency does a user see? Frames come open-loop through the very pipeline of ``edge-run``.
- `streams_that_fit`: how many cameras can share this device before the 99th percentile misses the budget?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_runtime.bench.replay import PacedSource, Recording
from edge_runtime.pipeline.assembly import Models, open_recogniser
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import PolicyName, choose
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.histogram import LatencyHistogram
from edge_runtime.report.sink import ReportSink
from edge_runtime.sinks.base import Sink

Clock = Callable[[], int]

# A number of streams is hopeless once a result is this many budgets old: its queue only grows from there.
_HOPELESS_BUDGETS = 5
MAX_STREAMS = 64


@dataclass(frozen=True, slots=True)
class Engine:
    """A model opened as the options say."""

    models: Models
    recogniser: Recogniser
    providers: dict[str, str]
    times: StageTimes

    @classmethod
    def open(cls, models: Models, *, hop: int | None, threads: int, provider: str, spin: bool) -> Engine:
        times = StageTimes()
        recogniser, providers = open_recogniser(
            models, observe=times.lap, hop=hop, threads=threads, provider=provider, spin=spin
        )
        return cls(models, recogniser, providers, times)


def warm_up(recogniser: Recogniser, recording: Recording, seconds: float) -> dict[str, float]:
    """Run for ``seconds`` so that caches, clocks and allocators are where they will stay; says what was run."""
    return _closed_loop(recogniser, recording, seconds)


def throughput(recogniser: Recogniser, recording: Recording, seconds: float) -> dict[str, float]:
    """Frames a second on one thread, closed-loop, preprocessing included."""
    ran = _closed_loop(recogniser, recording, seconds)
    rate = ran["frames"] / ran["seconds"]
    return {**ran, "frames_per_s": rate, "times_real_time": rate / _taken_fps(recogniser, recording)}


def _taken_fps(recogniser: Recogniser, recording: Recording) -> float:
    """Frames a second that the network takes of this source: of a faster one the rest is left out by the pipeline."""
    return min(recogniser.fps, recording.fps)


def _closed_loop(recogniser: Recogniser, recording: Recording, seconds: float) -> dict[str, float]:
    recogniser.reset()
    start_ns = now_ns = time.monotonic_ns()
    frames = 0
    while now_ns - start_ns < seconds * 1e9 or frames < recogniser.hop:
        recogniser.step(recording.frame(frames, now_ns))
        frames += 1
        now_ns = time.monotonic_ns()
    recogniser.reset()
    return {"frames": frames, "seconds": (now_ns - start_ns) / 1e9}


def single_stream(
    engine: Engine,
    recording: Recording,
    budgets: Budgets,
    *,
    seconds: float,
    policy: PolicyName,
    settings: dict[str, Any],
    command: str,
    sinks: Sequence[Sink],
) -> dict[str, Any]:
    """The report of ``seconds`` of frames through the pipeline. Use an engine once: its stage times join this run."""
    monitor = StageMonitor(budgets, engine.times)
    report = ReportSink(monitor, kind="bench", settings=settings, command=command)
    recogniser = engine.recogniser
    pipeline = Pipeline(
        PacedSource(recording, round(seconds * recording.fps)),
        Lineup({"main": recogniser}, engine.models.described(), engine.providers),
        [*sinks, report],
        chosen=choose(policy, live=True, hop=recogniser.hop, clip_length=recogniser.clip_length),
        times=engine.times,
        monitor=monitor,
    )
    report.frames = pipeline.account.snapshot
    pipeline.run()
    return report.report()


def streams_that_fit(
    open_one: Callable[[], Recogniser],
    recording: Recording,
    budgets: Budgets,
    *,
    seconds: float,
    guess: int,
    clock: Clock = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Streams of one device, each with its own state, taken in the order in which their frames are due.

    Tried are ``guess`` streams, then half as many again while they fit, then between the most that fitted and the
    fewest that did not; each for ``seconds``.
    """
    recognisers = [open_one()]
    recording = replace(recording, fps=_taken_fps(recognisers[0], recording))
    tried: list[dict[str, Any]] = []
    fits, too_many = 0, MAX_STREAMS + 1
    count = min(max(guess, 1), MAX_STREAMS)
    while too_many - fits > 1:
        while len(recognisers) < count:
            recognisers.append(open_one())
        tried.append(_try_streams(recognisers[:count], recording, budgets.ms[WHOLE], seconds, clock, sleep))
        if tried[-1]["fits"]:
            fits = count
        else:
            too_many = count
        unbounded = too_many > MAX_STREAMS
        count = min(max(count + 1, count * 3 // 2), MAX_STREAMS) if unbounded else (fits + too_many) // 2
    tried.sort(key=lambda one: one["streams"])
    return {"budget_ms": budgets.ms[WHOLE], "fits": fits, "tried": tried}


def _try_streams(
    recognisers: Sequence[Recogniser],
    recording: Recording,
    budget_ms: float,
    seconds: float,
    clock: Clock,
    sleep: Callable[[float], None],
) -> dict[str, Any]:
    for recogniser in recognisers:
        recogniser.reset()
    histogram = LatencyHistogram()
    interval_ns = 1e9 / recording.fps
    start_ns = clock()
    hopeless = False
    for step in range(round(seconds * recording.fps) * len(recognisers)):
        index, stream = divmod(step, len(recognisers))
        due_ns = start_ns + round((index + stream / len(recognisers)) * interval_ns)
        wait_ns = due_ns - clock()
        if wait_ns > 0:
            sleep(wait_ns / 1e9)
        if recognisers[stream].step(recording.frame(index, due_ns)):
            histogram.record(clock() - due_ns)
        hopeless = clock() - due_ns > _HOPELESS_BUDGETS * budget_ms * 1e6
        if hopeless:
            break
    p50, p99 = histogram.percentile(50), histogram.percentile(99)
    return {
        "streams": len(recognisers),
        "results": histogram.n,
        "p50_ms": None if p50 is None else p50 / 1e6,
        "p99_ms": None if p99 is None else p99 / 1e6,
        "fits": not hopeless and p99 is not None and p99 <= budget_ms * 1e6,
    }
