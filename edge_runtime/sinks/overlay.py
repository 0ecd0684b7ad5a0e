"""What is drawn over a picture: the action, its score, how old it is, and the last twenty seconds.

┌──────────────────────────┐
│ wave            ▓▓▓▓░ 93% │   the newest result; its colour is the label's everywhere
│ 41 ms                     │   capture to result
│                           │
│▂▂▂▂▁▁▂▂▂▂▂▂▂              │   one tick a result, as high as its score
│▇▇wave▇▇▇  ▇▇▇push▇▇▇      │   segments, when they have ended
└──────────────────────────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.events import Event, Fault, Result, Segment, Start

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR

TIMELINE_S = 20.0
_MAX_TICKS = 4096  # 20 s at 200 results a second
_TELLING = 4  # letters of a name by which it is known; fewer are left out

# Distinct in hue and in lightness, so that they stay apart for a colour-blind eye and in a grey print.
_PALETTE: tuple[Colour, ...] = (
    (66, 153, 255),
    (214, 170, 60),
    (110, 200, 90),
    (200, 110, 220),
    (70, 220, 230),
    (110, 100, 240),
    (190, 200, 120),
    (235, 130, 130),
)
_GREY: Colour = (150, 150, 150)
_WHITE: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_DUPLEX


class Overlay:
    """Takes events, draws their state over pictures."""

    def __init__(self) -> None:
        self._labels: list[str] = []  # the background has no colour of its own
        self._results: dict[int | None, Result] = {}  # newest of each body
        self._ticks: deque[Result] = deque(maxlen=_MAX_TICKS)
        self._segments: deque[Segment] = deque(maxlen=256)

    def take(self, event: Event) -> None:
        if isinstance(event, Start):
            self._labels = [label for label in event.labels if label != event.background]
        elif isinstance(event, Result):
            self._results[event.body] = event
            self._ticks.append(event)
        elif isinstance(event, Segment):
            self._segments.append(event)
        elif isinstance(event, Fault) and event.kind in ("gap", "clock-jump"):
            self._results.clear()

    def colour(self, label: str) -> Colour:
        return _PALETTE[self._labels.index(label) % len(_PALETTE)] if label in self._labels else _GREY

    def draw(self, image: Image, t: float) -> None:
        """Draw into a BGR picture that shows the moment ``t``, seconds of the source."""
        height, width = image.shape[:2]
        scale = min(3.0, max(0.4, min(height, width) / 480))
        if min(height, width) < 96:
            return  # a picture too small for text is shown as it is
        line = round(30 * scale)
        for row, result in enumerate(self._results.values()):
            self._draw_result(image, result, round(line * 0.4) + row * 2 * line, scale)
        self._draw_timeline(image, t, scale)

    def _draw_result(self, image: Image, result: Result, top: int, scale: float) -> None:
        line, width = round(30 * scale), image.shape[1]
        left, right = round(12 * scale), min(width - 1, round(330 * scale))
        _shade(image, 0, top - round(6 * scale), right + left, top + round(line * 1.75))
        who = f"{result.body + 1}: " if result.body is not None else ""
        percent = f"{result.score:.0%}"
        room = right - left - _width("100%", 0.8 * scale) - round(10 * scale)
        label = _shortened(who + result.label, 0.9 * scale, room)
        colour = self.colour(result.label)
        _text(image, label, left, top + round(22 * scale), 0.9 * scale, colour)
        _text(image, percent, right - _width(percent, 0.8 * scale), top + round(22 * scale), 0.8 * scale, _WHITE)
        base = top + line
        cv2.rectangle(image, (left, base), (right, base + max(1, round(4 * scale))), (70, 70, 70), cv2.FILLED)
        filled = left + round((right - left) * result.score)
        cv2.rectangle(image, (left, base), (filled, base + max(1, round(4 * scale))), colour, cv2.FILLED)
        state = f"{result.capture_to_result_ms:.0f} ms" + ("" if result.warm else ", warming up")
        _text(image, state, left, base + round(20 * scale), 0.5 * scale, (210, 210, 210))

    def _draw_timeline(self, image: Image, t: float, scale: float) -> None:
        height, width = image.shape[:2]
        bar, tick = round(22 * scale), round(16 * scale)
        top = height - bar - tick - round(8 * scale)
        _shade(image, 0, top - round(4 * scale), width, height)

        def x(moment: float) -> int:
            return int(width * (1 - (t - moment) / TIMELINE_S))

        period = _period(self._ticks)
        for result in self._ticks:
            if t - result.t <= TIMELINE_S and result.body in (None, 0):
                high = max(1, round(tick * result.score))
                box = (x(result.t - period), top + tick - high), (max(0, x(result.t) - 1), top + tick)
                cv2.rectangle(image, *box, self.colour(result.label), cv2.FILLED)
        below = top + tick + round(3 * scale)
        for segment in self._segments:
            left, right = max(0, x(segment.start)), min(width, x(segment.end))
            if right > 0:
                cv2.rectangle(image, (left, below), (right, below + bar), self.colour(segment.label), cv2.FILLED)
                name = _shortened(segment.label, 0.55 * scale, right - left - 4)
                if len(name) < min(_TELLING, len(segment.label)):
                    continue
                _text(image, name, left + 2, below + round(16 * scale), 0.55 * scale, (20, 20, 20))


def _period(results: Sequence[Result]) -> float:
    """Seconds that one tick of the timeline stands for."""
    return max(0.02, min(1.0, results[-1].t - results[-2].t)) if len(results) > 1 else 0.2


def _shade(image: Image, left: int, top: int, right: int, bottom: int) -> None:
    """Darken a box to a third, so that text is read on any picture."""
    box = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    box //= 3


def _text(image: Image, text: str, x: int, y: int, size: float, colour: Colour) -> None:
    cv2.putText(image, text, (x, y), _FONT, size, colour, max(1, round(size)), cv2.LINE_AA)


def _width(text: str, size: float) -> int:
    width: int = cv2.getTextSize(text, _FONT, size, max(1, round(size)))[0][0]
    return width


def _shortened(text: str, size: float, room: int) -> str:
    """``text`` cut to ``room`` pixels; the font draws ASCII only."""
    text = text.encode("ascii", "replace").decode()
    while text and _width(text, size) > room:
        text = text[:-1]
    return text
