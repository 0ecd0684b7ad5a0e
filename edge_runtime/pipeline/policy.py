"""What to do when frames come faster than the network takes them.

============  ==============================  ===============================================================
policy        you gain                        you give up
============  ==============================  ===============================================================
block         every frame, in order           the clock: capture waits for the network. For files. On a camera the
                                              driver's buffer fills instead, and results grow old without bound
drop-oldest   the freshest result that this   frames: one may wait, a newer one takes its place. Clips then span more
              device can give                 time than the network was trained on, and accuracy falls with them
degrade       clips of the right speed, and   results: the hop is lengthened (2x, 4x; whole clips are kept, the frames
              results on time                 between them skipped), then ``--fallback-model`` runs (at the same three
                                              hops), and only then are frames dropped as above, at the hop asked for.
                                              Climbs back when the load has gone
auto          block for a file or folder; for a live source ``degrade`` if a fallback model was given, else
              ``drop-oldest``
============  ==============================  ===============================================================

Pick ``degrade`` for a device that is busy or hot at times, ``drop-oldest`` for one that should always keep up and where
an old result is worthless.

Decisions rest on facts, a full queue and a late result, never on an estimated rate: a camera that announces 30 FPS and
delivers 60, or 7, is judged by what it does to the queue. Everything here is pure: a run is replayed by feeding the
same observations again.

How ``degrade`` moves::

    strained result = older than the budget, or frames were lost to overload since the one before; a gap that such
                      losses tore counts as one
    calm result     = no older than half the budget, nothing lost
    down one level    after 3 strained results in a row
    up one level      after 30 calm results in a row (from dropping: to the same hop and model without it); a climb
                      that fails within 30 results doubles the wait for the next, up to 960: a load that stays is
                      probed ever less often
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

PolicyName = Literal["auto", "block", "drop-oldest", "degrade"]
POLICIES: tuple[PolicyName, ...] = ("auto", "block", "drop-oldest", "degrade")

# Two frames in hand let decoding overlap the network; more gain nothing, and a 4K frame is 25 MB.
_BLOCK_WAITING = 2

STRAINED_TO_DEGRADE = 3  # one late result is a hiccup, three in a row are a load
CALM_TO_RECOVER = 30  # 6 s at 30 FPS and hop 6
MAX_CALM_TO_RECOVER = 960  # after failed climbs: 3 minutes at 30 FPS and hop 6
_CALM_SHARE = 0.5  # of the budget: the level above may cost twice as much


@dataclass(frozen=True, slots=True)
class Level:
    """One way to run."""

    hop: int  # frames of the model's rate from one result to the next
    model: Literal["main", "fallback"]
    waiting: int  # frames that may wait between capture and the network


@dataclass(frozen=True, slots=True)
class Policy:
    """How a run meets overload: ``levels`` from the one asked for to the last resort; only ``degrade`` has several."""

    name: Literal["block", "drop-oldest", "degrade"]
    levels: tuple[Level, ...]

    def above(self, level: int) -> int:
        """Index of the level to climb to. Dropping without loss has shown that its hop and model fit as they are."""
        this = self.levels[level]
        first = next(i for i, one in enumerate(self.levels) if (one.hop, one.model) == (this.hop, this.model))
        return first if first < level else level - 1


def choose(name: PolicyName, *, live: bool, hop: int, clip_length: int = 1, fallback: bool = False) -> Policy:
    """The policy called ``name`` for a source (``live``: it loses what is not taken) and a model.

    ``clip_length`` is 1 for a model that takes single samples (a skeleton): its hop is not lengthened, since every
    sample must pass through it.
    """
    if name == "auto":
        name = "block" if not live else "degrade" if fallback else "drop-oldest"
    if name == "block":
        return Policy("block", (Level(hop, "main", _BLOCK_WAITING),))
    if name == "drop-oldest":
        return Policy("drop-oldest", (Level(hop, "main", 1),))
    models: tuple[Literal["main", "fallback"], ...] = ("main", "fallback") if fallback else ("main",)
    hops = (hop, 2 * hop, 4 * hop) if clip_length > 1 else (hop,)
    levels = tuple(Level(h, model, max(clip_length, 2)) for model in models for h in hops)
    return Policy("degrade", (*levels, Level(hop, models[-1], 1)))


def admit(policy: Policy, level: Level, waiting: int) -> Literal["queue", "wait", "replace"]:
    """What a new frame does when ``waiting`` frames are queued: joins, waits for room, or takes the oldest's place."""
    if waiting < level.waiting:
        return "queue"
    return "wait" if policy.name == "block" else "replace"


def skips(level: Level, clip_length: int, fps: float, t: float, last_result_t: float | None) -> bool:
    """Whether the frame at ``t`` lies between two clips, ``last_result_t`` being the moment of the last result.

    ``fps`` is the model's rate. By time and not by counting, so that lost frames do not shift the next clip.
    """
    if last_result_t is None or level.hop <= clip_length:
        return False
    return t < last_result_t + (level.hop - clip_length + 0.5) / fps


@dataclass(frozen=True, slots=True)
class Observation:
    """One result as the governor sees it."""

    captured_ns: int  # of the result's last frame
    result_ns: int
    lost: int  # frames lost to overload since the last result


@dataclass(frozen=True, slots=True)
class GovernorState:
    """What `govern` remembers."""

    level: int = 0
    changed_ns: int = -1  # results of frames captured before the last change speak of the level before
    strained: int = 0  # in a row
    calm: int = 0  # in a row
    patience: int = CALM_TO_RECOVER  # calm results before the next climb
    since_climb: int | None = None  # results since a climb that may still fail


@dataclass(frozen=True, slots=True)
class Change:
    """The governor moved: an event of the run, kind ``degraded`` or ``recovered``."""

    kind: Literal["degraded", "recovered"]
    before: Level
    after: Level
    reason: str


def govern(
    policy: Policy, budget_ns: int, state: GovernorState, seen: Observation
) -> tuple[GovernorState, Change | None]:
    """One result: the next state, and the change of level if there is one."""
    if seen.captured_ns <= state.changed_ns:
        return state, None
    age = seen.result_ns - seen.captured_ns
    strained = age > budget_ns or seen.lost > 0
    calm = not strained and age <= budget_ns * _CALM_SHARE
    since_climb = None if state.since_climb is None else state.since_climb + 1
    state = replace(
        state,
        strained=state.strained + 1 if strained else 0,
        calm=state.calm + 1 if calm else 0,
        since_climb=since_climb,
    )
    if since_climb is not None and since_climb >= CALM_TO_RECOVER and not strained:
        state = replace(state, since_climb=None, patience=CALM_TO_RECOVER)  # the climb has held

    if state.strained >= STRAINED_TO_DEGRADE and state.level + 1 < len(policy.levels):
        failed_climb = state.since_climb is not None
        patience = min(2 * state.patience, MAX_CALM_TO_RECOVER) if failed_climb else state.patience
        why = f"frames lost to overload: {seen.lost}" if seen.lost else f"result after {age / 1e6:.0f} ms"
        reason = f"{why}, budget {budget_ns / 1e6:.0f} ms, {state.strained} in a row"
        after = GovernorState(state.level + 1, seen.result_ns, patience=patience)
        return after, Change("degraded", policy.levels[state.level], policy.levels[after.level], reason)
    if state.calm >= state.patience and state.level > 0:
        reason = f"{state.calm} results in a row within {_CALM_SHARE:.0%} of the budget"
        above = policy.above(state.level)
        after = GovernorState(above, seen.result_ns, patience=state.patience, since_climb=0)
        return after, Change("recovered", policy.levels[state.level], policy.levels[after.level], reason)
    return state, None


class Governor:
    """`govern` with its state, one a run. The inference thread observes; ``level`` may be read by any thread."""

    def __init__(self, policy: Policy, budget_ns: int) -> None:
        self.policy = policy
        self._budget_ns = budget_ns
        self._state = GovernorState()

    @property
    def level(self) -> Level:
        return self.policy.levels[self._state.level]

    def observe(self, captured_ns: int, result_ns: int, lost: int) -> Change | None:
        """One result; the change of level that it brings about, to be emitted as an event."""
        self._state, change = govern(
            self.policy, self._budget_ns, self._state, Observation(captured_ns, result_ns, lost)
        )
        return change
