"""What quantization changed: parity of the outputs, and speed of two things run turn by turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LogitParity:
    """How close two models' logits are over the same input."""

    steps: int
    max_error: float  # largest difference of a logit
    largest: float  # largest logit of the original, to read the error against
    agreement: float  # part of the steps with the same label

    @classmethod
    def of(cls, original: Array, other: Array) -> LogitParity:
        """Compare logits ``(steps, classes)``."""
        return cls(
            steps=len(original),
            max_error=float(np.abs(other - original).max()),
            largest=float(np.abs(original).max()),
            agreement=float((original.argmax(axis=1) == other.argmax(axis=1)).mean()),
        )


@dataclass(frozen=True, slots=True)
class Paired:
    """Median times of two or more things that took turns, so that whatever else the machine does hits all alike."""

    median_us: tuple[float, ...]
    ratio: tuple[float, ...]  # median over the rounds of (the first's time / each one's): above 1 is faster


def take_turns(
    things: Sequence[Callable[[], object]],
    rounds: int,
    before: Callable[[], object] | None = None,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Paired:
    """Time ``things`` one after the other, ``rounds`` times, each round in the opposite order of the one before, so
    that none always follows the same; ``before`` runs untimed ahead of each.

    With ``time.thread_time_ns`` the neighbours on a busy device do not count: by wall time the same pair of 2 ms
    stages gave 0.3x and 4.3x within a minute. It sees the calling thread only, so it is for one thread.
    """
    times: list[list[int]] = [[] for _ in things]
    pairs = list(zip(things, times, strict=True))
    for round_number in range(rounds):
        for thing, taken in pairs if round_number % 2 == 0 else reversed(pairs):
            if before is not None:
                before()
            start = clock_ns()
            thing()
            taken.append(clock_ns() - start)
    return Paired(
        tuple(statistics.median(taken) / 1e3 for taken in times),
        tuple(statistics.median(a / b for a, b in zip(times[0], taken, strict=True)) for taken in times),
    )


def clock_of(threads: int) -> Callable[[], int]:
    """The clock for ``take_turns`` of something that runs on ``threads`` threads, the calling one included."""
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns
