"""How a run is doing, in one word: derived from what was observed, never declared by the part that may be stuck.

    starting ──► warming ──► ok ◄──► degraded | throttled        ready: ok, degraded, throttled
                     any of them ◄──► starved | hung             alive: all but hung, and a starvation that nobody
                                                                        is working on

``starved``  no frame for a while: the camera's fault. A restart would not mend it, so it is *alive* while the source
             reports that it is reconnecting.
``hung``     frames go in, nothing comes out: our fault, and a restart does mend it.

A health page that says ok while the loop is starved or stuck is the classic failure; hence ages of frames and results
decide, and systemd's watchdog is fed from the same ages (`HealthMonitor.advanced`), not from a timer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from edge_runtime.errors import InputError
from edge_runtime.events import Event, Fault, Features, Result, Start

SOURCE_LOST = "source-lost"  # fault kinds by which a source tells that it lost its device and is reconnecting,
SOURCE_RETURNED = "source-returned"  # and that it is back


class State(StrEnum):
    """From worst excuse to best; the value is what probes, metrics and MQTT show."""

    STARTING = "starting"
    WARMING = "warming"
    OK = "ok"
    DEGRADED = "degraded"
    THROTTLED = "throttled"
    STARVED = "starved"
    HUNG = "hung"

    @property
    def ready(self) -> bool:
        """Results are valid and current."""
        return self in (State.OK, State.DEGRADED, State.THROTTLED)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a run stops being ok. Seconds, and one share."""

    startup_s: float = 120.0  # from launch to the first frame: models load, a camera powers up
    starved_s: float = 3.0  # without a frame
    hung_s: float = 10.0  # frames, but no result
    degraded_miss_ratio: float = 0.1  # share of recent results that were late

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Thresholds:
        """From the ``[health]`` table of a configuration.

        Raises:
            InputError: an unknown name, or a value that is no positive number.
        """
        names = [field.name for field in fields(cls)]
        for name, value in table.items():
            if name not in names:
                raise InputError(f"[health] {name}: unknown threshold; expected one of {', '.join(names)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(f"[health] {name}: expected a positive number, found {value!r}")
        return cls(**{name: float(value) for name, value in table.items()})


@dataclass(frozen=True, slots=True)
class Vitals:
    """What was seen, as monotonic nanoseconds (None: never), and the two opinions of others."""

    launched_ns: int
    flowing_since_ns: int | None = None  # first frame since the start, or since the last silence
    frame_ns: int | None = None
    result_ns: int | None = None
    warm: bool = False
    reconnecting: bool = False
    miss_ratio: float = 0.0
    throttled: bool = False


def assess(vitals: Vitals, now_ns: int, thresholds: Thresholds) -> State:
    """The one word for ``vitals`` at the moment ``now_ns``; the gravest that holds."""
    if vitals.frame_ns is None or vitals.flowing_since_ns is None:
        late = vitals.reconnecting or now_ns - vitals.launched_ns > thresholds.startup_s * 1e9
        return State.STARVED if late else State.STARTING
    # the newest frame against the newest result: a camera that stops must not look like a network that hangs
    answered_ns = max(vitals.result_ns or 0, vitals.flowing_since_ns)
    if vitals.frame_ns - answered_ns > thresholds.hung_s * 1e9:
        return State.HUNG
    if vitals.reconnecting or now_ns - vitals.frame_ns > thresholds.starved_s * 1e9:
        return State.STARVED
    if not vitals.warm:
        return State.WARMING
    if vitals.throttled:
        return State.THROTTLED
    return State.DEGRADED if vitals.miss_ratio > thresholds.degraded_miss_ratio else State.OK


class HealthMonitor:
    """Watches a run and answers for its state. Any thread may ask; somebody must, about once a second.

    Frames are looked at from outside (``newest_frame_ns``: when the newest came, None before the first), because being
    told of each would cost a thread switch a frame. ``miss_ratio`` and ``throttled`` are asked likewise: the share of
    recent late results, and whether the device has cut its own clock. Events come by `emit`.
    """

    def __init__(
        self,
        newest_frame_ns: Callable[[], int | None],
        thresholds: Thresholds | None = None,
        miss_ratio: Callable[[], float] = lambda: 0.0,
        throttled: Callable[[], bool] = lambda: False,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self._newest_frame_ns = newest_frame_ns
        self._miss_ratio = miss_ratio
        self._throttled = throttled
        self._clock = clock
        self._lock = threading.Lock()
        self._vitals = Vitals(launched_ns=clock())
        self._fed_ns: int | None = None
        self.started = False

    def emit(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Result):
                self._vitals = replace(self._vitals, result_ns=self._clock(), warm=event.warm)
            elif isinstance(event, Features):
                self._vitals = replace(self._vitals, result_ns=self._clock(), warm=True)
            elif isinstance(event, Fault) and event.kind in (SOURCE_LOST, SOURCE_RETURNED):
                self._look()  # the frames before it, which must not end the outage
                self._vitals = replace(self._vitals, reconnecting=event.kind == SOURCE_LOST)
            elif isinstance(event, Start):
                self.started = True

    def _look(self) -> None:
        """Take note of the newest frame. Holds the lock."""
        newest, vitals = self._newest_frame_ns(), self._vitals
        if newest is None or newest == vitals.frame_ns:
            return
        silent = vitals.frame_ns is None or newest - vitals.frame_ns > self.thresholds.starved_s * 1e9
        since = newest if silent else vitals.flowing_since_ns  # results are owed from then on, not from before
        self._vitals = replace(vitals, frame_ns=newest, flowing_since_ns=since, reconnecting=False)

    def _observed(self) -> Vitals:
        with self._lock:
            self._look()
            vitals = self._vitals
        return replace(vitals, miss_ratio=self._miss_ratio(), throttled=self._throttled())

    @property
    def frame_age_s(self) -> float | None:
        """Seconds since the newest frame; None before the first."""
        frame_ns = self._newest_frame_ns()
        return None if frame_ns is None else (self._clock() - frame_ns) / 1e9

    def state(self) -> State:
        return assess(self._observed(), self._clock(), self.thresholds)

    def alive(self) -> bool:
        """False when only a restart can help: hung, or no frames and no source at work to get them back."""
        vitals = self._observed()
        state = assess(vitals, self._clock(), self.thresholds)
        return state is not State.HUNG and (state is not State.STARVED or vitals.reconnecting)

    def advanced(self) -> bool:
        """True when frames moved on since the last call, or when there is a known reason why not.

        The known reasons: the run is still starting, or its source is reconnecting.
        """
        vitals = self._observed()
        state = assess(vitals, self._clock(), self.thresholds)
        moved = vitals.frame_ns != self._fed_ns
        self._fed_ns = vitals.frame_ns
        return state is State.STARTING or vitals.reconnecting or (moved and state is not State.HUNG)
