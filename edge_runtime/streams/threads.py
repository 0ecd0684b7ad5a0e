"""How many threads inside an operator serve this model on this machine, found by running it.

More cores are not more speed: a small network spends more on waking threads than on its products, and what the second
core of a small board does for the network it no longer does for the camera. So the fewest threads that come within a
tenth of the best are taken.
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
from edge_runtime.streams.imfe import ImfeStream

NEAR = 1.1
ROUNDS = 3  # hops
# For each number of threads. A model that is slow here is timed by fewer frames: three hops of the published IMFE
# would keep a Raspberry Pi's user waiting for minutes.
PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """The number to take, and the milliseconds a frame cost with each number tried."""

    threads: int
    frame_ms: Mapping[int, float]


def choose_threads(
    file: ModelFile, *, hop: int | None = None, provider: str = "cpu", counts: Sequence[int] | None = None
) -> ThreadChoice:
    """Run a streaming IMFE with each number of threads, one after the other to spare memory.

    Other models take one thread: a graph network's step is over before a second thread is awake (0.3 ms), and a clip
    model is there for comparison.

    Raises:
        InputError: the model does not run.
    """
    if counts is None:
        counts = [n for n in (1, 2, 3, 4) if n <= usable_cores()]
    if not isinstance(file.metadata, ImfeMetadata) or len(counts) == 1:
        return ThreadChoice(counts[0], {})
    grey = np.full((file.metadata.height, file.metadata.width, 3), 127, np.uint8)
    cost: dict[int, float] = {}
    for count in counts:
        with ImfeStream(file, hop=hop, threads=count, provider=provider) as stream:
            cost[count] = _frame_ms(stream, grey)
    return ThreadChoice(fewest_near_best(cost), cost)


def fewest_near_best(cost: Mapping[int, float]) -> int:
    """The fewest threads whose cost is within ``NEAR`` of the least."""
    return min(count for count, spent in cost.items() if spent <= NEAR * min(cost.values()))


def usable_cores() -> int:
    """Cores that this process may run on: a container or a systemd unit may give fewer than there are."""
    return len(os.sched_getaffinity(0))


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
