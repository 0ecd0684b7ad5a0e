"""Plots of a page that needs no script: shapes in an SVG that stretches, words beside it in HTML that do not.

One plot is a box of fractions, x to the right and y up, both from 0 to 1. The SVG takes whatever width a phone or a
desktop gives it; strokes keep their width and labels their size, which text inside a scaled SVG would not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

_SIZE = 1000  # units of the view box for a fraction of 1

Tick = tuple[float, str]
"""Where along the axis (a fraction), and what it says."""


class Linear:
    """Values to fractions, in proportion."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high if high > low else low + 1

    def __call__(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 4) -> list[Tick]:
        """About ``count`` round numbers."""
        step = _round_step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step), math.floor(self.high / step + 1e-9)
        return [(self(i * step), number(i * step)) for i in range(first, last + 1)]


class Log:
    """Positive values to fractions, a factor of ten everywhere as wide."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high if high > low else low * 2

    def __call__(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, count: int = 5) -> list[Tick]:
        """Round numbers: as many of each decade as there is room for."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            values = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) <= count + 2:
                break
        return [(self(value), number(value)) for value in inside]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def number(value: float) -> str:
    """Three significant digits and no exponent: 0.0123, 1.23, 12.3, 123, 1,234."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bars(boxes: Iterable[tuple[float, float, float]], kind: str, titles: Sequence[str] = ()) -> str:
    """Upright bars ``(x from, x to, height)`` on the ground line."""
    drawn = []
    for i, (left, right, height) in enumerate(boxes):
        title = f"<title>{escape(titles[i])}</title>" if titles else ""
        drawn.append(_rect(left, 0, right - left, height, kind, title))
    return "".join(drawn)


def box(left: float, bottom: float, width: float, height: float, kind: str, title: str = "") -> str:
    return _rect(left, bottom, width, height, kind, f"<title>{escape(title)}</title>" if title else "")


def _rect(left: float, bottom: float, width: float, height: float, kind: str, inner: str) -> str:
    x, y, w, h = left * _SIZE, (1 - bottom - height) * _SIZE, width * _SIZE, height * _SIZE
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}">{inner}</rect>'


def line(points: Iterable[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{x * _SIZE:.1f},{(1 - y) * _SIZE:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def across(y: float, kind: str) -> str:
    """A level line over the whole width."""
    return line([(0, y), (1, y)], kind)


def upright(x: float, kind: str, title: str = "") -> str:
    """A line from the ground to the top."""
    at = f"{x * _SIZE:.1f}"
    said = f"<title>{escape(title)}</title>" if title else ""
    return f'<line class="{kind}" x1="{at}" x2="{at}" y1="0" y2="{_SIZE}">{said}</line>'


def plot(name: str, shapes: Iterable[str], x: Sequence[Tick], y: Sequence[Tick], height: str = "9rem") -> str:
    """The shapes with their axes; ``name`` is what a screen reader says."""
    grid = "".join(across(at, "grid") for at, _ in y)
    rows = "".join(f'<span style="bottom:{at:.2%}">{escape(text)}</span>' for at, text in y)
    columns = "".join(f'<span style="left:{at:.2%}">{escape(text)}</span>' for at, text in x)
    return (
        f'<div class="plot" style="--height:{height}"><div class="y">{rows}</div>'
        f'<svg role="img" aria-label="{escape(name)}" viewBox="0 0 {_SIZE} {_SIZE}" preserveAspectRatio="none">'
        f'{grid}{"".join(shapes)}</svg><div class="x">{columns}</div></div>'
    )
