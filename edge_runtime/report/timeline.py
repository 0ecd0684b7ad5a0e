"""What happened when, in constant memory: bins of time that double their width whenever they run out.

A run of one minute is seen in quarter seconds, one of a month in hours; no result is left out, for a bin keeps its
worst one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Bin:
    """The results known, and the frames dropped, within one stretch of time."""

    results: int = 0
    sum_ms: float = 0.0
    max_ms: float = 0.0
    misses: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, other: Bin) -> None:
        self.results += other.results
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)
        self.misses += other.misses
        self.dropped.update(other.dropped)


class Timeline:
    """At most ``capacity`` bins, the first of them ``width_s`` wide to begin with."""

    def __init__(self, capacity: int = 240, width_s: float = 0.25) -> None:
        self.width_s = width_s
        self._capacity = capacity
        self._bins: list[Bin] = []

    def result(self, t_s: float, ms: float, missed: bool) -> None:
        """A result known ``t_s`` seconds into the run, ``ms`` after its last frame was captured."""
        self._at(t_s).add(Bin(1, ms, ms, int(missed)))

    def dropped(self, t_s: float, reason: str, count: int) -> None:
        """Frames given up for one reason."""
        self._at(t_s).dropped[reason] += count

    def _at(self, t_s: float) -> Bin:
        while t_s >= self.width_s * self._capacity:
            self._fold()
        index = max(int(t_s / self.width_s), 0)
        while len(self._bins) <= index:
            self._bins.append(Bin())
        return self._bins[index]

    def _fold(self) -> None:
        """Half as many bins, twice as wide."""
        for even, odd in zip(self._bins[::2], self._bins[1::2], strict=False):
            even.add(odd)
        self._bins = self._bins[::2]
        self.width_s *= 2

    def as_json(self) -> dict[str, Any]:
        return {
            "bin_s": self.width_s,
            "bins": [
                {
                    "t_s": index * self.width_s,
                    "results": one.results,
                    "mean_ms": one.sum_ms / one.results if one.results else None,
                    "max_ms": one.max_ms if one.results else None,
                    "misses": one.misses,
                    "dropped": dict(one.dropped),
                }
                for index, one in enumerate(self._bins)
            ],
        }
