"""What a person at a terminal sees: actions as they end, a live status line, and at the end where every frame and every
millisecond went. Everything goes to standard error; standard output is for data.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, TextIO

from edge_runtime.events import DROP_REASONS, Event, Fault, Features, Result, Segment, Start, Summary

# Ten a second look steady to an eye; more only load the terminal (a serial console manages 20 lines of 80 a second).
_REFRESH_S = 0.1
_CLEAR = "\r\x1b[K"
_TOO_FAST = (
    "frames came faster than the network takes them: of a camera take a smaller model or --policy degrade, "
    "of a recording on standard input --policy block"
)


class Terminal:
    """Prints to ``stream``; the status line only where it is a terminal.

    With a ``label``, one of several runs that share the terminal: its lines bear it, and there is no status line.
    """

    name = "terminal"

    def __init__(
        self, stream: TextIO | None = None, *, label: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._prefix = f"{label}: " if label else ""
        self._live = self._stream.isatty() and not label
        self._clock = clock
        self._drawn_at = -_REFRESH_S
        self._rate = _Rate(clock)

    def emit(self, event: Event) -> None:
        match event:
            case Start():
                self._say(_opening(event))
            case Result():
                self._rate.count()
                self._refresh(_status(event, str(self._rate)))
            case Features():
                self._rate.count()
                self._refresh(f"{_moment(event.t)}  features  {self._rate}")
            case Segment():
                self._say(_segment(event))
            case Fault():
                detail = "  ".join(f"{key} {value}" for key, value in event.detail.items())
                self._say(f"{_moment(event.t)}  ! {event.kind}  {detail}")
            case Summary():
                self._say(table(event))

    def close(self) -> None:
        if self._live:
            self._stream.write(_CLEAR)
        self._stream.flush()

    def _say(self, text: str) -> None:
        self._stream.write((_CLEAR if self._live else "") + textwrap.indent(text, self._prefix) + "\n")
        self._stream.flush()

    def _refresh(self, line: str) -> None:
        now = self._clock()
        if not self._live or now - self._drawn_at < _REFRESH_S:
            return
        self._drawn_at = now
        self._stream.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
        self._stream.flush()


class _Rate:
    """Events a second, averaged over about the last second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None
        self._n = 0
        self._per_second: float | None = None

    def count(self) -> None:
        now = self._clock()
        if self._since is None:
            self._since = now
            return
        self._n += 1
        if now - self._since >= 1:
            self._per_second = self._n / (now - self._since)
            self._since, self._n = now, 0

    def __str__(self) -> str:
        return "" if self._per_second is None else f"{self._per_second:.1f}/s"


def _opening(start: Start) -> str:
    labels = ", ".join(start.labels[:8]) + (", …" if len(start.labels) > 8 else "")
    what = f"recognising {labels}" if labels else "computing features"
    return f"{start.source}: {what} ({start.fps:g} FPS, a result every {start.hop}, policy {start.policy})"


def _moment(t: float | None) -> str:
    return " " * 10 if t is None else f"{t:8.1f} s"


def _status(result: Result, per_second: str) -> str:
    bar = "█" * round(10 * result.score)
    state = "" if result.warm else "  warming up"
    return (
        f"{_moment(result.t)}  {result.label:<16} {bar:<10} {result.score:4.0%}"
        f"  {result.capture_to_result_ms:6.1f} ms  {per_second:>8}{state}"
    )


def _segment(segment: Segment) -> str:
    who = "" if segment.body is None else f"  body {segment.body + 1}"
    return f"{_moment(segment.start)} to {segment.end:6.1f} s  {segment.label:<16} {segment.score:4.0%}{who}"


def table(summary: Summary) -> str:
    """The account of the frames and the latency of each stage, as text."""
    frames = summary.frames
    dropped = frames["dropped"]
    lines = [
        "",
        f"{summary.results} results, {summary.segments} segments in {summary.duration_s:.1f} s;"
        f" ended by {summary.ended_by}",
        "",
        f"frames   captured {frames['captured']} = processed {frames['processed']} + dropped {sum(dropped.values())}",
    ]
    lines += [f"         {n:8d} {reason:<11} {DROP_REASONS.get(reason, '')}" for reason, n in sorted(dropped.items())]
    lines += [
        f"sink {name}: {tally['lost']} events or pictures left out, {tally['failed']} failed"
        for name, tally in summary.sinks.items()
        if tally["lost"] or tally["failed"]
    ]
    overload = dropped.get("overload", 0)
    if overload > frames["processed"] or (overload and not summary.results):
        lines += ["", _TOO_FAST]
    if summary.stages:
        lines += ["", f"{'ms':<18}{'n':>8}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}{'budget':>9}{'misses':>8}"]
        lines += [_stage(name, figures) for name, figures in summary.stages.items()]
    return "\n".join(lines)


def _stage(name: str, figures: dict[str, Any]) -> str:
    numbers = "".join(f"{figures[key]:9.2f}" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "budget_ms"))
    return f"{name:<18}{figures['n']:8d}{numbers}{figures['misses']:8d}"
