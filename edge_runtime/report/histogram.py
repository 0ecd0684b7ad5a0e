"""A latency distribution of constant size, however many durations it has counted.

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

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR = 1 / 128
MAX_NS = (1 << 42) - 1  # 73 minutes; anything longer counts as that, its exact value shows in the maximum
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

    __slots__ = ("_counts", "_square_sum", "_vector", "max_ns", "min_ns", "n", "sum_ns")

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * _BUCKETS))
        self._vector = np.frombuffer(self._counts, np.int64)  # the same memory: quick for many, the array for one
        self._square_sum = 0
        self.n = 0
        self.sum_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def record(self, ns: int) -> None:
        """Count one duration. Retains no memory. A negative one (a clock that is not ours) counts as 0."""
        if ns > self.max_ns:
            self.max_ns = ns
        ns = min(max(ns, 0), MAX_NS)
        if ns < self.min_ns or not self.n:
            self.min_ns = ns
        self.n += 1
        self.sum_ns += ns
        self._square_sum += ns * ns
        shift = ns.bit_length() - 7  # the top 7 bits choose the bucket, the rest are forgotten
        self._counts[(shift << 6) + (ns >> shift) if shift > 0 else ns] += 1

    def record_all(self, ns: npt.NDArray[np.int64]) -> None:
        """Count many durations, as `record` does one: of 512 together each takes a tenth of the time."""
        if not len(ns):
            return
        self.max_ns = max(self.max_ns, int(ns.max()))
        ns = np.clip(ns, 0, MAX_NS)
        low = int(ns.min())
        self.min_ns = min(self.min_ns, low) if self.n else low
        self.n += len(ns)
        self.sum_ns += int(ns.sum())
        high, rest = ns >> 24, ns & ((1 << 24) - 1)  # so that no product, and no sum of 30,000, exceeds 63 bits
        self._square_sum += (int(high @ high) << 48) + (int(high @ rest) << 25) + int(rest @ rest)
        shift = np.maximum(np.frexp(ns)[1] - 7, 0)  # frexp's exponent is the bit length, exact below 2**53
        np.add.at(self._vector, (shift << 6) + (ns >> shift), 1)

    def merge(self, other: LatencyHistogram) -> None:
        """Add another histogram's samples to this one."""
        if not other.n:
            return
        self.min_ns = min(self.min_ns, other.min_ns) if self.n else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.n += other.n
        self.sum_ns += other.sum_ns
        self._square_sum += other._square_sum
        self._vector += other._vector

    def percentile(self, percent: float) -> float | None:
        """The ``percent``-th percentile in ns, within `RELATIVE_ERROR`; None when nothing was recorded."""
        if not 0 < percent <= 100:
            raise ValueError(f"percent must be in (0, 100], found {percent}")
        if not self.n:
            return None
        rank = math.ceil(self.n * percent / 100)
        bucket = int(np.searchsorted(np.cumsum(self._vector), rank))
        if bucket == _BUCKETS:  # the writer was between n and its bucket
            return float(self.max_ns)
        lower, upper = _bounds(bucket)
        return min(max((lower + upper) / 2, self.min_ns), self.max_ns)

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
        for bucket in np.flatnonzero(self._vector).tolist():
            yield (*_bounds(bucket), self._counts[bucket])
