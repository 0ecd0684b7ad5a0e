"""Latency distributions of constant size: one for the whole run, one for the recent past.

`LatencyHistogram` has log-linear buckets, as HdrHistogram does. Durations below 128 ns have a bucket each; above,
every power of two is cut into 64 buckets of equal width::

    bucket     0 1 2 … 127 │ 128 130 132 … 254 │ 256 260 264 … 508 │ 512 …        (lower bounds, ns)
    width            1     │         2         │         4         │ 8

A bucket that begins at ``64 * w`` or above is ``w`` wide and answers with its middle, so a percentile is off by at most
``(w / 2) / (64 * w) = 1/128``: 0.78 % of the true sample, at any magnitude and for any shape of distribution. Count,
sum, sum of squares, minimum and maximum are exact.

Percentiles are nearest-rank: p is the smallest sample that at least p % of the samples do not exceed; no
interpolation, so each is (within the bucket) a latency that really happened.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator

RELATIVE_ERROR = 1 / 128
MAX_NS = (1 << 42) - 1  # 73 minutes; anything longer is counted there, its exact value shows in the maximum
P999_MIN_SAMPLES = 1000  # below, the 99.9th percentile is the maximum under another name

_BUCKETS = (42 - 6 + 1) << 6  # 128 of width 1, then 64 for each further bit of MAX_NS


def _bounds(bucket: int) -> tuple[int, int]:
    """First and last nanosecond of a bucket."""
    shift = max((bucket >> 6) - 1, 0)
    lower = (bucket - (shift << 6)) << shift
    return lower, lower + (1 << shift) - 1


class LatencyHistogram:
    """Durations in nanoseconds, 18 KiB whatever their number. One thread records; any thread may read.

    A reader beside the writer may see one record half done; it is off by that one sample.
    """

    __slots__ = ("_counts", "_square_sum", "max_ns", "min_ns", "n", "sum_ns")

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * _BUCKETS))
        self._square_sum = 0
        self.n = 0
        self.sum_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def record(self, ns: int) -> None:
        """Count one duration. Retains no memory. A negative one (a clock that is not ours) counts as 0."""
        if ns < 0:
            ns = 0
        if ns > self.max_ns:
            self.max_ns = ns
        if ns < self.min_ns or not self.n:
            self.min_ns = ns
        self.n += 1
        self.sum_ns += ns
        self._square_sum += ns * ns
        if ns > MAX_NS:
            ns = MAX_NS
        shift = ns.bit_length() - 7  # the top 7 bits choose the bucket, the rest are forgotten
        self._counts[(shift << 6) + (ns >> shift) if shift > 0 else ns] += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add another histogram's samples to this one."""
        if not other.n:
            return
        self.min_ns = min(self.min_ns, other.min_ns) if self.n else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.n += other.n
        self.sum_ns += other.sum_ns
        self._square_sum += other._square_sum
        for bucket, count in enumerate(other._counts):
            if count:
                self._counts[bucket] += count

    def percentile(self, percent: float) -> float | None:
        """The ``percent``-th percentile in ns, within `RELATIVE_ERROR`; None when nothing was recorded."""
        if not 0 < percent <= 100:
            raise ValueError(f"percent must be in (0, 100], found {percent}")
        if not self.n:
            return None
        rank = math.ceil(self.n * percent / 100)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                lower, upper = _bounds(bucket)
                return min(max((lower + upper) / 2, self.min_ns), self.max_ns)
        return float(self.max_ns)  # the writer was between n and its bucket

    @property
    def p999(self) -> float | None:
        """99.9th percentile in ns, None below `P999_MIN_SAMPLES` samples."""
        return self.percentile(99.9) if self.n >= P999_MIN_SAMPLES else None

    @property
    def mean_ns(self) -> float | None:
        return self.sum_ns / self.n if self.n else None

    @property
    def std_ns(self) -> float | None:
        """Population standard deviation, from exact integer sums: no cancellation however close the samples lie."""
        return math.sqrt(self.n * self._square_sum - self.sum_ns**2) / self.n if self.n else None

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """``(lower_ns, upper_ns, count)`` of each bucket that holds a sample; both bounds belong to it."""
        for bucket, count in enumerate(self._counts):
            if count:
                yield (*_bounds(bucket), count)


class SlidingWindow:
    """The last ``size`` durations themselves: percentiles of the recent past are exact, and sorted only when asked."""

    __slots__ = ("_next", "_ring", "n", "size")

    def __init__(self, size: int = 512) -> None:
        self.size = size
        self.n = 0  # recorded so far, also those that have left
        self._next = 0
        self._ring = array("q", bytes(8 * size))

    def record(self, ns: int) -> None:
        """Push one duration; the oldest leaves. Retains no memory."""
        self._ring[self._next] = ns
        self._next = (self._next + 1) % self.size
        self.n += 1

    def samples(self) -> list[int]:
        """The window, ascending."""
        return sorted(self._ring[: min(self.n, self.size)])

    def percentile(self, percent: float) -> int | None:
        """Nearest-rank percentile in ns of the last ``size`` durations; None before the first."""
        samples = self.samples()
        return samples[math.ceil(len(samples) * percent / 100) - 1] if samples else None
