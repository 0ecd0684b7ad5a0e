"""Shows what the estimate for a board rests on: its share of this machine's peak, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.devices import BOARDS, Row
from benchmarks.stages import Timed, per_frame
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import ImfeMetadata
from tests.edge_runtime.streams.small_models import SmallImfe

SECONDS = {"encoder": [0.010], "motion": [0.006], "head": [0.060]}


def row(path: Path, pair_speedup: float = 1.0) -> Row:
    file = load_model(SmallImfe.make().save(path / "imfe.onnx"))
    assert isinstance(file.metadata, ImfeMetadata)
    alone, pair = Timed.open(file, 6, 1), Timed.open(file, 6, 1)
    for timed, factor in ((alone, 1.0), (pair, pair_speedup)):
        timed.stages = {stage: [seconds[0] / factor] for stage, seconds in SECONDS.items()}
    return Row("small", False, {}, file.metadata, alone, pair)


def test_a_frame_is_an_encoder_the_needed_pairs_and_its_part_of_a_head(tmp_path: Path) -> None:
    one = row(tmp_path)
    assert per_frame(one.alone, one.metadata, 6) == pytest.approx(0.010 + 5 / 6 * 0.006 + 0.060 / 6)
    assert per_frame(one.alone, one.metadata, 1) == pytest.approx(0.010 + 0.006 + 0.060)


def test_a_board_of_this_machines_peak_is_as_fast(tmp_path: Path) -> None:
    board = BOARDS[0]
    assert row(tmp_path).rate(board, 1, board.peak(int8=False)) == pytest.approx(1 / 0.025)
    assert row(tmp_path).rate(board, 1, 2 * board.peak(int8=False)) == pytest.approx(0.5 / 0.025)


def test_four_cores_scale_as_two_do_here(tmp_path: Path) -> None:
    board = BOARDS[0]
    peak = board.peak(int8=False)
    assert row(tmp_path, pair_speedup=2.0).rate(board, 4, peak) == pytest.approx(4 / 0.025)
    assert row(tmp_path, pair_speedup=1.0).rate(board, 4, peak) == pytest.approx(2 / 0.025)
