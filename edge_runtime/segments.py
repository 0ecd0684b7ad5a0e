"""From one opinion a hop to actions with a start and an end.

    result names      none none wave wave push wave wave wave none none none none
    smoothed wave     .0   .0   .4   .6   .4   .6   .7   .8   .5   .3   .2   .1
                                     ^ enter (0.5)            none leads ^
    segment                     [---------- wave ----------]

- Scores are smoothed by an exponential mean over *time* (``smoothing_s``), so that 5 and 60 results a second behave
  alike.
- A label whose smoothed score leads and reaches ``enter`` opens a segment; it lasts until its smoothed score falls
  below ``leave`` or another label leads with ``enter``. One wrong result inside an action does not cut it in two.
- Smoothing decides *whether*, not *when*: the segment runs from the first to the last result that itself named the
  label, so the smoothing's lag does not move its borders. Its score is the mean over the results that named it.
- The background label is a label like any other whose segments are not reported.
- A segment shorter than ``min_duration_s`` is not reported.

Which way to turn them: raise ``enter`` and ``min_duration_s`` against false alarms, lower ``leave`` against actions cut
in two, lower ``smoothing_s`` where actions are shorter than half a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_runtime.errors import InputError
from edge_runtime.events import Result, Segment

# A smoothed score below this is forgotten: it bounds the state, and no threshold lies near it.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How results become segments.

    Raises:
        InputError: not ``0 < leave <= enter <= 1``, or a negative time.
    """

    enter: float = 0.5  # smoothed score at which an action begins
    leave: float = 0.3  # smoothed score under which it has ended
    min_duration_s: float = 0.4
    smoothing_s: float = 0.4  # time constant of the mean; 0 switches it off

    def __post_init__(self) -> None:
        if not 0 < self.leave <= self.enter <= 1:
            raise InputError(f"segments: expected 0 < leave <= enter <= 1, found {self.leave} and {self.enter}")
        if not (self.min_duration_s >= 0 and self.smoothing_s >= 0):
            raise InputError(
                "segments: times are seconds and not negative, found "
                f"minimum duration {self.min_duration_s}, smoothing {self.smoothing_s}"
            )


@dataclass(frozen=True, slots=True)
class Run:
    """The results that named one label since it last came up."""

    start: float
    end: float
    total: float = 0.0
    n: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What segmenting remembers of one body."""

    t: float | None = None
    smoothed: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    open: str | None = None  # the label that leads; may be the background


def step(how: Hysteresis, background: str | None, state: State, result: Result) -> tuple[list[Segment], State]:
    """Take one result; the segments that it ended, and the state for the next."""
    smoothed = _smooth(how, state, result)
    score = result.top[0][1]
    run = state.runs.get(result.label, Run(result.t, result.t))
    runs = dict(state.runs)
    runs[result.label] = replace(run, end=result.t, total=run.total + score, n=run.n + 1)

    leader = max(smoothed, key=smoothed.__getitem__, default=result.label)
    takes_over = leader != state.open and leader in runs and smoothed[leader] >= how.enter
    ended = state.open is not None and (takes_over or smoothed.get(state.open, 0.0) < how.leave)

    segments: list[Segment] = []
    now_open = state.open
    if state.open is not None and ended:
        last = runs.pop(state.open)
        segments = _report(how, background, state.open, last, result.body)
        now_open = None
        # the next one cannot have begun before this one ended
        runs = {
            label: replace(run, start=max(run.start, last.end), end=max(run.end, last.end))
            for label, run in runs.items()
        }
    if takes_over:
        now_open = leader
    runs = {
        label: run
        for label, run in runs.items()
        if label in (result.label, now_open) or smoothed.get(label, 0.0) >= how.leave
    }
    return segments, State(result.t, smoothed, runs, now_open)


def finish(how: Hysteresis, background: str | None, state: State, body: int | None = None) -> list[Segment]:
    """The segment that is open, when the stream ends or breaks off; start anew with ``State()``."""
    if state.open is None:
        return []
    return _report(how, background, state.open, state.runs[state.open], body)


def _smooth(how: Hysteresis, state: State, result: Result) -> dict[str, float]:
    """The exponential mean of each label's score; the first result is taken as it is."""
    new = dict(result.top)
    if state.t is None or how.smoothing_s == 0:
        return new
    keep = math.exp(-max(0.0, result.t - state.t) / how.smoothing_s)
    labels = state.smoothed.keys() | new.keys()
    mixed = {label: keep * state.smoothed.get(label, 0.0) + (1 - keep) * new.get(label, 0.0) for label in labels}
    return {label: score for label, score in mixed.items() if score >= _NEGLIGIBLE}


def _report(how: Hysteresis, background: str | None, label: str, run: Run, body: int | None) -> list[Segment]:
    if label == background or run.end - run.start < how.min_duration_s:
        return []
    return [Segment(label, run.start, run.end, run.total / run.n, body)]


class Segmenter:
    """`step` with its state, one a body."""

    def __init__(self, how: Hysteresis, background: str | None) -> None:
        self._how = how
        self._background = background
        self._states: dict[int | None, State] = {}

    def step(self, result: Result) -> list[Segment]:
        state = self._states.get(result.body, State())
        segments, self._states[result.body] = step(self._how, self._background, state, result)
        return segments

    def finish(self) -> list[Segment]:
        """The open segments of all bodies; afterwards nothing is remembered."""
        states, self._states = self._states, {}
        return [s for body, state in states.items() for s in finish(self._how, self._background, state, body)]
