"""Which frames a network sees: the ones that, by their timestamps, match the rate it was trained at.

A network that learned at 30 frames a second sees slow motion in a 60 FPS camera and fast forward in one that lost half
its frames. Frames are therefore taken where they lie nearest to a grid of ``1 / fps`` seconds:

    source 50 FPS   |    |    |    |    |    |    |
    grid   30 FPS   ^        ^       ^       ^            (0, 33, 67, 100 ms)
    taken           |         |    |         |            (0, 40, 60, 100 ms)

- The grid follows the frames it takes by 1/32 of each one's lateness. A rate that is nominally the model's (29.97
  for 30, 59.94 for 60) is thereby taken regularly for ever, without the doubled frame that a rigid grid needs each
  time the two have drifted apart by a period.
- A frame may come early by half a period of the source: jitter below that never costs a frame.
- A source slower than the model has every frame taken and the network sees the action faster than it is;
  ``Choice.slow`` says so.
- After a silence longer than ``gap_s``, or a clock that jumped back, the grid starts anew and the silence counts as no
  period. That the networks forget what was before is the pipeline's to see to, by the same bound: it knows of frames
  that were lost behind this choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# Share of a frame's lateness by which the grid follows: 59.94 FPS lags a grid of 30 by 1 ms and stays there; the
# jitter of single frames hardly moves it.
_FOLLOW = 1 / 32
# Share of a new interval in the estimate of the source's period.
_LEARN = 1 / 16
# A source counts as slow when its period is this much longer than the model's: 28 FPS passes for 30, 25 does not.
_SLOW = 1.08
# Intervals in a row for which the estimate must say so. One silence of half a second at 30 FPS, which other frames make
# up for, raises it for 38.
_PERSISTS = 48


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate wanted, and the bound on silence.

    ``gap_s`` trades: shorter, and a camera's hiccup throws away the network's memory; longer, and an action is
    spliced from two moments. Half a second, or four periods of a slow source, is the default of ``matching``.
    """

    fps: float
    gap_s: float
    source_fps: float | None = None  # as the source states it; None where it doesn't know

    @classmethod
    def matching(cls, fps: float, source_fps: float | None = None) -> Rate:
        """The rate of a model of ``fps`` on a source that says it has ``source_fps``."""
        slowest = min(fps, source_fps or fps)
        return cls(fps, max(0.5, 4 / slowest), source_fps)


@dataclass(frozen=True, slots=True)
class State:
    """What choosing remembers. All None and zero before the first frame."""

    last: float | None = None  # t of the previous frame, taken or not
    due: float = 0.0  # t of the next point of the grid
    period: float | None = None  # running estimate of the source's, seconds
    slow_for: int = 0  # intervals in a row after which that estimate was slower than the model


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with one frame. A frame not used is a drop of reason ``rate``."""

    use: bool
    slow: bool = False  # the source is slower than the model


def choose(rate: Rate, state: State, t: float) -> tuple[Choice, State]:
    """Whether to use the frame that shows at ``t`` seconds, and the state for the next."""
    step = 1 / rate.fps
    if state.last is None:
        first = 1 / rate.source_fps if rate.source_fps else None
        return Choice(True), State(t, t + step, first)
    interval = t - state.last
    if interval < 0 or interval > rate.gap_s:
        return Choice(True, state.slow_for >= _PERSISTS), replace(state, last=t, due=t + step)

    period = interval if state.period is None else state.period + (interval - state.period) * _LEARN
    state = State(t, state.due, period, state.slow_for + 1 if period > step * _SLOW else 0)
    slow = state.slow_for >= _PERSISTS
    late = t - state.due
    if late < -min(period, step) / 2:
        return Choice(False, slow), state
    # Beyond a step the grid is lost (a slow source, a short stall) and starts anew at this frame. Half a step was too
    # eager: 8 ms of jitter at 33 FPS cost 1.7 of the 30 frames a second.
    due = t + step if late > step else state.due + step + late * _FOLLOW
    return Choice(True, slow), replace(state, due=due)


class FrameSampler:
    """``choose`` with its state, one a source."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._state = State()

    def step(self, t: float) -> Choice:
        choice, self._state = choose(self.rate, self._state, t)
        return choice
