"""What goes wrong with live sources and what follows from it: pure, so that every fault is tested without a camera.

======================  ==================================  ============================================================
what is seen            for how long                        what follows
======================  ==================================  ============================================================
no frame                ``silent_s``                        the connection is given up and opened anew
the same frame, to the  ``frozen_s``                        likewise: an unplugged USB camera and a stuck encoder
bit                                                         repeat their last frame for ever; a living one has noise
black frames            ``black_s``                         said once, and once when light returns: a lens cap or night
                                                            is no broken connection
another size            at once                             said, and a new epoch: the networks' memory is of another
                                                            picture
======================  ==================================  ============================================================

Between two attempts passes ever more time, from ``first_wait_s`` up to ``longest_wait_s`` (see `edge_runtime.backoff`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

from edge_runtime.sources.opencv import Image


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds after which something is wrong. ``give_up_after_s`` counts from the loss; None is never."""

    silent_s: float = 5.0
    opening_s: float = 20.0  # RTSP waits for a key frame, which may be 10 s away
    frozen_s: float = 10.0
    black_s: float = 10.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    give_up_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """As much of a frame as the watch needs."""

    size: tuple[int, int]  # width, height
    digest: int
    black: bool


# A black camera picture has some noise and is seldom at 0: limited range puts black at 16.
_BLACK_MEAN = 20
_BLACK_SPREAD = 4


def glance(image: Image) -> Glance:
    """Look at every n-th pixel, some 64 x 36 of them: 20 microseconds."""
    height, width = image.shape[:2]
    few = image[:: max(1, height // 36), :: max(1, width // 64)]
    black = bool(few.mean() < _BLACK_MEAN and few.std() < _BLACK_SPREAD)
    return Glance((width, height), zlib.crc32(few.tobytes()), black)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something seen: ``kind`` and its figures."""

    kind: str  # frozen, black, black-over, size-change
    detail: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}, " + ", ".join(f"{key} {value}" for key, value in self.detail.items())


@dataclass(frozen=True, slots=True)
class Watch:
    """What watching one connection remembers; times are seconds of any rising clock."""

    last: Glance | None = None
    same_since: float = 0.0
    black_since: float | None = None
    black_said: bool = False


def watch(patience: Patience, state: Watch, seen: Glance, now: float) -> tuple[list[Notice], Watch]:
    """Look at one more frame. After a notice ``frozen`` the connection is over."""
    notices = []
    if state.last is not None and state.last.size != seen.size:
        notices.append(Notice("size-change", {"before": list(state.last.size), "after": list(seen.size)}))
    changed = state.last is None or state.last.digest != seen.digest
    state = replace(state, last=seen, same_since=now if changed else state.same_since)
    if seen.black:
        since = now if state.black_since is None else state.black_since
        state = replace(state, black_since=since)
        if not state.black_said and now - since >= patience.black_s:
            notices.append(Notice("black", {"seconds": round(now - since, 3)}))
            state = replace(state, black_said=True)
    else:
        if state.black_said and state.black_since is not None:
            notices.append(Notice("black-over", {"seconds": round(now - state.black_since, 3)}))
        state = replace(state, black_since=None, black_said=False)
    # a covered lens may clip to pure black: identical frames there are no sign of a stuck camera
    if not seen.black and now - state.same_since >= patience.frozen_s:
        notices.append(Notice("frozen", {"seconds": round(now - state.same_since, 3)}))
    return notices, state
