"""Shows that threads are given where they serve, and only as many."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.models.file import load_model
from edge_runtime.streams import threads
from edge_runtime.streams.threads import choose_threads, fewest_near_best, usable_cores
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe


@pytest.mark.parametrize(
    ("cost", "chosen"),
    [
        ({1: 10.0, 2: 5.5, 4: 3.0}, 4),  # each helps
        ({1: 10.0, 2: 9.5}, 1),  # a second one brings 5 %: it is left to the camera
        ({1: 4.0, 2: 6.0, 4: 9.0}, 1),  # waking costs more than it brings
        ({1: 10.0, 2: 5.2, 3: 5.0}, 2),
    ],
)
def test_the_fewest_threads_near_the_best_are_taken(cost: dict[int, float], chosen: int) -> None:
    assert fewest_near_best(cost) == chosen


def test_an_imfe_is_run_with_each_number(tmp_path: Path) -> None:
    file = load_model(SmallImfe.make().save(tmp_path / "imfe.onnx"))
    choice = choose_threads(file, waiting=True, counts=(1, 2))
    assert choice.threads in (1, 2)
    assert choice.lanes in (1, 2)
    assert set(choice.frame_ms) == {1, 2}
    assert all(spent > 0 for spent in choice.frame_ms.values())


@pytest.mark.parametrize(("side_by_side_ms", "lanes"), [(7.0, 2), (9.8, 1), (12.0, 1)])
def test_lanes_are_kept_where_waiting_frames_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side_by_side_ms: float, lanes: int
) -> None:
    monkeypatch.setattr(threads, "_waiting_ms", lambda stream, frames: (10.0, side_by_side_ms))
    file = load_model(SmallImfe.make().save(tmp_path / "imfe.onnx"))
    assert choose_threads(file, waiting=True, counts=(1, 2)).lanes == lanes
    assert choose_threads(file, counts=(1, 2)).lanes == 1


def test_a_graph_network_takes_one(tmp_path: Path) -> None:
    file = load_model(SmallGcn.make(LAYERS).save(tmp_path / "rtstgcn.onnx"))
    assert (choose_threads(file).threads, choose_threads(file).lanes) == (1, 1)


def test_cores_are_those_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= 1024
