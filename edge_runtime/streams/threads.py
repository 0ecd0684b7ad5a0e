"""How many threads inside an operator, and frames side by side, serve this model on this machine, found by running it.

More cores are not more speed: a small network spends more on waking threads than on its products, and what the second
core of a small board does for the network it no longer does for the camera. So the fewest threads that come within a
tenth of the best are taken. Then, where frames wait for the network, two lanes (`streams.lanes`) are tried with them.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.models.session import DEVICE_MEMORY
from edge_runtime.streams.imfe import ImfeStream
from edge_runtime.streams.lanes import Lanes

NEAR = 1.1
LANES = 2  # tried against one
LANES_GAIN = 1.05  # in frames a second, from which on they are kept
ROUNDS = 3  # hops
# For each number of threads. A model that is slow here is timed by fewer frames: three hops of the published IMFE
# would keep a Raspberry Pi's user waiting for minutes.
PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """The numbers to take, and the milliseconds a frame cost with each number of threads tried, in one lane."""

    threads: int
    lanes: int
    frame_ms: Mapping[int, float]


def choose_threads(
    file: ModelFile,
    *,
    hop: int | None = None,
    provider: str = "cpu",
    waiting: bool = False,
    counts: Sequence[int] | None = None,
) -> ThreadChoice:
    """Run a streaming IMFE with each number of threads, one after the other to spare memory.

    Other models take one thread and lane: a graph network's step is over before a second thread is awake (0.3 ms), and
    a clip model is there for comparison.

    Args:
        file: the model.
        hop: as it will run.
        provider: likewise.
        waiting: frames wait for the network, as a file's do and a camera's do not: then lanes are tried.
        counts: of threads to try; default 1 to 4, no more than there are cores.

    Raises:
        InputError: the model does not run.
    """
    if counts is None:
        counts = [n for n in (1, 2, 3, 4) if n <= usable_cores()]
    if not isinstance(file.metadata, ImfeMetadata) or len(counts) == 1:
        return ThreadChoice(counts[0], 1, {})
    grey = np.full((file.metadata.height, file.metadata.width, 3), 127, np.uint8)
    hop = hop or file.metadata.hops[0]
    # no name for a stream: each is gone before the next one is opened
    cost = {n: _frame_ms(ImfeStream(file, hop=hop, threads=n, provider=provider), grey) for n in counts}
    threads = fewest_near_best(cost)
    hop_s = cost[threads] * hop / 1000
    one_lane = not waiting or provider in DEVICE_MEMORY or file.metadata.has_appearance
    if one_lane or hop_s > 4 * PATIENCE_S:
        return ThreadChoice(threads, 1, cost)
    hops = max(1, min(ROUNDS, round(PATIENCE_S / hop_s)))
    in_lanes = ImfeStream(file, hop=hop, threads=threads, provider=provider, lanes=LANES)
    alone, beside = _waiting_ms(in_lanes, [grey] * (hops * hop))
    return ThreadChoice(threads, LANES if beside * LANES_GAIN <= alone else 1, cost)


def fewest_near_best(cost: Mapping[int, float]) -> int:
    """The fewest threads whose cost is within ``NEAR`` of the least."""
    return min(count for count, spent in cost.items() if spent <= NEAR * min(cost.values()))


def usable_cores() -> int:
    """Cores that this process may run on: a container or a systemd unit may give fewer than there are."""
    return len(os.sched_getaffinity(0))


def _waiting_ms(stream: ImfeStream, frames: Sequence[np.ndarray]) -> tuple[float, float]:
    """Milliseconds for frames that wait for the network, one after the other and in the stream's lanes.

    The better of two times, where the first does not take long.
    """
    spent: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    while not spent[1] or (len(spent[1]) < 2 and time.perf_counter() - begun < 2 * PATIENCE_S):
        for costs, run in zip(spent, (_one_after_the_other, _side_by_side), strict=True):
            before = time.perf_counter()
            run(stream, list(frames))
            costs.append(1000 * (time.perf_counter() - before))
    return min(spent[0]), min(spent[1])


def _one_after_the_other(stream: ImfeStream, frames: list[np.ndarray]) -> None:
    for frame in frames:
        stream.step(frame)


def _side_by_side(stream: ImfeStream, frames: list[np.ndarray]) -> None:
    lanes = Lanes(lambda: frames.pop() if frames else None, lambda: not frames, stream.encoders)
    while not lanes.over:
        taken = lanes.take()
        if taken is not None:
            stream.follow(taken[1].result())


def _frame_ms(stream: ImfeStream, frame: np.ndarray) -> float:
    """Milliseconds a frame in the median hop, head included; of two frames or more where there is no time for a hop."""
    spent: list[float] = []
    begun = time.perf_counter()
    while len(spent) < ROUNDS * stream.hop and (len(spent) < 2 or time.perf_counter() - begun < PATIENCE_S):
        before = time.perf_counter()
        stream.step(frame)
        spent.append(1000 * (time.perf_counter() - before))
    hops = [statistics.mean(spent[i : i + stream.hop]) for i in range(0, len(spent) - stream.hop + 1, stream.hop)]
    return statistics.median(hops) if hops else statistics.mean(spent)
