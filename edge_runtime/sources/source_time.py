"""When a frame of a network stream shows: by the stream's own timestamps, laid on our clock. Pure.

    sent       |  |  |  |  |  |  |  |  |  |
    arrives    |  |  |            ||||||  |          the network held some back, and then gave them all at once
    t          |  |  |  |  |  |  |  |  |  |          by arrival, an action would stand still and then be over in a blink

The stream's clock is not ours: it begins anywhere and runs a little fast or slow. Its first frame is put at its
arrival; from then on ``t`` follows arrival by at most 1 % of the time that passes, far more than clocks differ, and too
little to bend an action. Timestamps that stand still or run back are those of a new beginning. Ones that part from
arrival by `TRUST_S` have a rate of their own (FFmpeg makes some up, where a stream has none); then, for the rest of the
connection, arrival is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

FOLLOW = 0.01  # of the time that passes; quartz differs by 0.0001
TRUST_S = 10.0  # a stall that lasts longer has ended the connection; HLS comes in pieces of up to ten seconds


@dataclass(frozen=True, slots=True)
class Clock:
    """A stream's clock on ours: ``t = stamp + offset_s``."""

    stamp_s: float
    offset_s: float
    trusted: bool = True


def place(clock: Clock | None, stamp_s: float | None, arrival_s: float) -> tuple[float, Clock | None]:
    """The moment that a frame shows, and the clock for the next.

    Args:
        clock: None before the first frame.
        stamp_s: the stream's timestamp; None where it has none.
        arrival_s: when the frame arrived, on our clock.
    """
    if stamp_s is None or (clock is not None and not clock.trusted):
        return arrival_s, clock
    if clock is None or stamp_s <= clock.stamp_s:
        return arrival_s, Clock(stamp_s, arrival_s - stamp_s)
    error_s = arrival_s - (stamp_s + clock.offset_s)
    if abs(error_s) > TRUST_S:
        return arrival_s, Clock(stamp_s, arrival_s - stamp_s, trusted=False)
    most = FOLLOW * (stamp_s - clock.stamp_s)
    offset_s = clock.offset_s + min(most, max(-most, error_s))
    return stamp_s + offset_s, Clock(stamp_s, offset_s)
