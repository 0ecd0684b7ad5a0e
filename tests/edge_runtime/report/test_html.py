"""The page: every number is the JSON's, nothing is fetched, and a real browser draws it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.report import html
from edge_runtime.report.svg import Linear, Log, number
from tests.edge_runtime.report import fixture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIGHT, DARK = (0x2F, 0x6F, 0xB7), (0x6E, 0xA8, 0xE6)  # --data of report.css, RGB


class Numbers(HTMLParser):
    """``(data-key, data-value, text)`` of each number of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        key, value = given.get("data-key"), given.get("data-value")
        self._open = (key, value) if key is not None and value is not None else None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found.append((*self._open, data))
            self._open = None


def numbers(page: str) -> list[tuple[str, str, str]]:
    parser = Numbers()
    parser.feed(page)
    return parser.found


def look_up(report: Any, key: str) -> Any:
    for step in key.split("/"):
        report = report[int(step)] if isinstance(report, list) else report[step]
    return report


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return fixture.run()


def check_numbers(page: str, report: dict[str, Any]) -> None:
    found = numbers(page)
    assert len(found) > 100
    for key, value, text in found:
        assert float(value) == look_up(report, key), key
        assert float(text.replace(",", "")) == pytest.approx(float(value), rel=0.005), key


def test_every_number_on_the_page_is_the_one_in_the_json(report: dict[str, Any]) -> None:
    check_numbers(html.page(report), report)


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(report: dict[str, Any]) -> None:
    page = html.page(report)
    assert not re.search(r"https?://|<script|<link rel=\"stylesheet|@import|url\(", page)


def test_names_from_outside_cannot_become_markup(report: dict[str, Any]) -> None:
    page = html.page(report)
    assert "imfe &lt;tiny&gt;" in page
    assert "walk &amp; run.mp4" in page
    assert "<tiny>" not in page


def test_figures_that_were_not_measured_are_shown_as_missing(report: dict[str, Any]) -> None:
    """Shows that an absent p99.9 or GPU is neither 0 nor left to be guessed."""
    page = html.page(report)
    assert report["stages"]["imfe.head"]["p999_ms"] is None
    assert "This device does not tell: gpu load." in page


def test_what_was_added_by_a_benchmark_is_shown(report: dict[str, Any]) -> None:
    tried = [{"streams": n, "results": 9, "p50_ms": 20.0 * n, "p99_ms": 90.0 * n, "fits": n < 3} for n in (1, 2, 3)]
    model = {"name": "a.onnx", "sha256": "a", "precision": "fp32", "ms_per_frame": 14.0}
    ratios = {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}
    faster = {"name": "b.onnx", "ms_per_frame": 7.0, "ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6}
    metric = {"metric": "imfe.head p50_ms", "before": 10.0, "now": 12.0, "change": 0.2, "regressed": True}
    full = report | {
        "throughput": {"frames": 900, "seconds": 9.0, "frames_per_s": 100.0, "times_real_time": 3.3},
        "streams": {"budget_ms": 200.0, "fits": 2, "tried": tried},
        "comparison": {"rounds": 9, "frames_per_round": 60, "models": [model | ratios, model | faster]},
        "baseline": {"path": "old/report.json", "fail_above": 0.05, "metrics": [metric]},
    }
    page = html.page(full)
    check_numbers(page, full)
    assert "+20.0%" in page
    assert {"throughput/frames_per_s", "streams/fits", "comparison/models/1/ratio", "baseline/metrics/0/now"} <= {
        key for key, _, _ in numbers(page)
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.0, "12"), (123.4, "123"), (1850, "1,850"), (-2.5, "-2.5")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_ticks_are_round_and_inside_the_axis() -> None:
    assert [text for _, text in Linear(0, 200).ticks(4)] == ["0", "50", "100", "150", "200"]
    assert [text for _, text in Log(0.5, 150).ticks(5)] == ["1", "3", "10", "30", "100"]
    for axis in (Linear(3, 97), Log(0.02, 7000)):
        assert all(0 <= at <= 1 for at, _ in axis.ticks())


def browse(page: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet, "--hide-scrollbars"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", *options),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize(("scheme", "colour"), [(1, LIGHT), (0, DARK)])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_the_plots_in_both_schemes_and_widths(
    tmp_path: Path, scheme: int, colour: tuple[int, int, int], width: int
) -> None:
    """Shows that the plots have ink in the scheme's colour, and that the console has nothing to say."""
    fixture.run(tmp_path)
    shot = tmp_path / "page.png"
    options = (f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},5000")
    done = browse(tmp_path / "report.html", tmp_path, *options, f"--screenshot={shot}")
    assert "CONSOLE" not in done.stderr
    image = cv2.imread(str(shot))
    assert image is not None
    ink = (np.abs(image.astype(int) - colour[::-1]).max(axis=2) < 8).sum()
    assert ink > 0.002 * image.shape[0] * image.shape[1]


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_never_scrolls_sideways_and_every_plot_has_a_size(tmp_path: Path, width: int) -> None:
    """Shows that on a phone of 360 pixels nothing sticks out: wide tables scroll by themselves, long paths break."""
    report = fixture.run()
    report["run"]["source"] = "/srv/recordings/" + 20 * "kitchen_camera_" + ".mp4"
    page = html.page(report)
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'''<iframe style="width:{width}px;height:800px;border:0" srcdoc="{escape(page)}"></iframe><script>
        onload = () => {{
          const inner = document.querySelector("iframe").contentDocument;
          const shapes = [...inner.querySelectorAll("svg")].map(svg => svg.querySelector(".data, .pale, rect.bad"));
          const drawn = shapes.filter(shape => shape && shape.getBoundingClientRect().width > 0);
          document.body.dataset.seen = [inner.documentElement.scrollWidth, drawn.length, shapes.length].join(" ");
        }}</script>'''
    )
    done = browse(frame, tmp_path, "--window-size=1400,900", "--dump-dom")
    seen = re.search(r'data-seen="(\d+) (\d+) (\d+)"', done.stdout)
    assert seen is not None
    scroll_width, drawn, plots = map(int, seen.groups())
    assert scroll_width <= width
    assert drawn == plots > 8


@pytest.mark.slow
@in_a_browser
def test_the_numbers_that_a_browser_shows_are_those_of_the_json(tmp_path: Path) -> None:
    report = fixture.run(tmp_path)
    done = browse(tmp_path / "report.html", tmp_path, "--dump-dom")
    check_numbers(done.stdout, report)
    plots = re.findall(r"<svg[^>]*>(.*?)</svg>", done.stdout, re.DOTALL)
    assert len(plots) >= len(report["stages"]) + 2
    assert all(re.search(r"<rect class=\"(data|pale|bad)|<polyline class=\"data", plot) for plot in plots)
