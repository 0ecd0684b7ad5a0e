"""The events a run emits, one frozen dataclass each, and their JSON form (one object a line).

Every sink receives these; ``--out`` writes them as they are. Times are source seconds, latencies milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

DropReason = Literal["rate", "unreadable", "overload", "skipped", "stopped", "failed"]
"""Why a frame was not processed."""
DROP_REASONS: dict[DropReason, str] = {
    "rate": "between the frames that the model's rate asks for",
    "unreadable": "could not be decoded",
    "overload": "a newer one was there before the network was free",
    "skipped": "between two clips of the lengthened hop",
    "stopped": "waiting when the run ended",
    "failed": "refused by the network",
}
"""What each says of its frame."""


@dataclass(frozen=True, slots=True)
class Start:
    """First event of a run: what runs on what."""

    event: ClassVar[str] = "start"
    version: str
    source: str
    models: dict[str, Any]
    labels: tuple[str, ...]
    hop: int
    fps: float
    policy: str
    background: str | None = None  # the label that means that no action is going on
    threads: int = 1  # inside an operator of the networks on pictures
    lanes: int = 1  # frames encoded side by side


@dataclass(frozen=True, slots=True)
class Result:
    """The network's opinion of the moment ``t`` (``frame`` of the source).

    It was known ``capture_to_result_ms`` after the last frame it needed was captured: the moment spoken of where the
    network has no delay, else that many steps later.
    """

    event: ClassVar[str] = "result"
    frame: int
    t: float
    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    warm: bool  # False until the receptive field holds only real frames
    capture_to_result_ms: float
    body: int | None = None  # which skeleton of the scene, where there are several


@dataclass(frozen=True, slots=True)
class Features:
    """With ``--head none``: the motion feature of the clip that ends at ``t``."""

    event: ClassVar[str] = "features"
    frame: int
    t: float
    features: tuple[float, ...]
    capture_to_result_ms: float


@dataclass(frozen=True, slots=True)
class Segment:
    """An action that went on from ``start`` to ``end``, with its mean score."""

    event: ClassVar[str] = "segment"
    label: str
    start: float
    end: float
    score: float
    body: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the run survived, or that ended it: a gap, a lost camera, a change of policy."""

    event: ClassVar[str] = "fault"
    kind: str
    t: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """Last event: the account of every frame and the latency of every stage."""

    event: ClassVar[str] = "summary"
    frames: dict[str, Any]  # captured, processed, dropped {DropReason: n}
    stages: dict[str, dict[str, Any]]
    results: int
    segments: int
    duration_s: float
    ended_by: str  # end-of-stream, max-frames, duration, signal, output-closed, source-lost, error
    models: dict[str, Any] = field(default_factory=dict)  # that ran last: each swap before is a fault, model-replaced
    providers: dict[str, str] = field(default_factory=dict)  # what each of their stages ran on
    sinks: dict[str, dict[str, int]] = field(default_factory=dict)  # emitted, shown, lost, failed, before this event


Event = Start | Result | Features | Segment | Fault | Summary


def to_json(event: Event) -> str:
    """One line of JSON, ``event`` first; None-valued optional fields are left out."""
    body: dict[str, Any] = {"event": event.event}
    for item in dataclasses.fields(event):
        value = getattr(event, item.name)
        if value is not None:
            body[item.name] = value
    return json.dumps(body, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """numpy scalars as Python numbers."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} in an event is not JSON")
