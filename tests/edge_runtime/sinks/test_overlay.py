"""What is drawn over a picture."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.events import Fault, Result, Segment, Start
from edge_runtime.sinks.overlay import Image, Overlay

START = Start("1", "test", {}, ("wave", "push", "none"), 6, 30.0, "block", background="none")


def result(t: float, label: str = "wave", body: int | None = None) -> Result:
    return Result(round(t * 30), t, label, 0.8, ((label, 0.8),), True, 12.0, body)


def overlay(*events: Start | Result | Segment | Fault) -> Overlay:
    made = Overlay()
    for event in (START, *events):
        made.take(event)
    return made


def drawn(made: Overlay, t: float, shape: tuple[int, int] = (480, 640)) -> Image:
    image = np.full((*shape, 3), 128, np.uint8)
    made.draw(image, t)
    return image


def test_the_label_stands_at_the_top_in_its_colour() -> None:
    made = overlay(result(1.0))
    top = drawn(made, 1.0)[:60, :340]
    assert (top == made.colour("wave")).all(axis=2).any()


def test_every_label_has_its_colour_and_the_background_is_grey() -> None:
    made = overlay()
    assert made.colour("wave") != made.colour("push")
    assert len(set(made.colour("none"))) == 1


def test_a_segment_lies_on_the_timeline_where_it_was() -> None:
    """Shows the newest moment at the right edge and twenty seconds across."""
    made = overlay(Segment("push", 10.0, 15.0, 0.9))
    bar = (drawn(made, 20.0)[-12] == made.colour("push")).all(axis=1)
    assert np.flatnonzero(bar)[[0, -1]] == pytest.approx([320, 480], abs=2)


def test_the_middle_of_the_picture_is_left_as_it_is() -> None:
    image = drawn(overlay(result(1.0), result(1.2)), 1.2)
    assert (image[140:400] == 128).all()


def test_several_bodies_are_shown_below_each_other() -> None:
    one, two = (
        drawn(overlay(*events), 1.0) for events in ([result(1.0, body=0)], [result(1.0, body=0), result(1.0, body=1)])
    )
    assert (one[70:110] == 128).all()
    assert not (two[70:110] == 128).all()


def test_after_a_gap_no_old_result_is_shown() -> None:
    assert (drawn(overlay(result(1.0), Fault("gap", 9.0)), 9.0)[:100] == 128).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 1280), (97, 97), (1280, 720), (4320, 7680)])
def test_any_size_can_be_drawn_on(shape: tuple[int, int]) -> None:
    label = "a label with more letters than a small picture has room for, and an ü"
    drawn(overlay(result(1.0), result(1.2, label), Segment(label, 0.0, 1.0, 0.9)), 1.2, shape)
