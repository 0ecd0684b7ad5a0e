"""Budgets: where they come from, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.pipeline.budgets import BESIDE, STAGES, WHOLE, Budgets, read_overrides

MS = 1_000_000


def test_the_whole_is_one_hop_of_the_source() -> None:
    assert Budgets.derive(fps=30, hop=6).ms[WHOLE] == pytest.approx(200)


@given(st.floats(1, 240), st.integers(1, 30), st.none() | st.floats(1, 5000))
def test_a_run_that_keeps_every_stage_budget_keeps_the_whole_and_keeps_up(
    fps: float, hop: int, deadline_ms: float | None
) -> None:
    """Shows that the shares are a promise: their sum is within the whole, a hop's work within a hop's time."""
    ms = Budgets.derive(fps, hop, deadline_ms).ms
    assert set(ms) == set(STAGES)
    assert sum(value for stage, value in ms.items() if stage not in (WHOLE, *BESIDE)) <= ms[WHOLE] * (1 + 1e-9)
    per_frame = ms["preprocess"] + ms["imfe.encoder"] + ms["imfe.motion"]
    assert hop * per_frame + ms["imfe.head"] + ms["rtstgcn"] <= hop * 1000 / fps * (1 + 1e-9)


def test_stages_of_some_models_only_have_the_budget_of_another_or_their_own() -> None:
    ms = Budgets.derive(30, 6, overrides={"imfe.motion": 4.0}).ms
    assert (ms["imfe.appearance"], ms["lstr"]) == (4.0, ms["rtstgcn"])
    assert Budgets.derive(30, 6, overrides={"imfe.appearance": 7.0}).ms["imfe.appearance"] == 7.0


def test_a_file_sets_stages_and_a_flag_comes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text("capture_to_result = 300\nimfe.encoder = 25\n[imfe]\nhead = 40\n".replace("[imfe]\n", "imfe."))
    overrides = read_overrides(path)
    assert overrides == {"capture_to_result": 300, "imfe.encoder": 25, "imfe.head": 40}
    assert Budgets.derive(30, 6, overrides=overrides).ms[WHOLE] == 300
    budgets = Budgets.derive(30, 6, deadline_ms=250, overrides=overrides)
    assert (budgets.ms[WHOLE], budgets.ms["imfe.encoder"], budgets.ns("imfe.head")) == (250, 25, 40 * MS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("imfe.decoder = 5", "unknown stage 'imfe.decoder'; the stages are capture, preprocess"),
        ("imfe.head = -5", "imfe.head must be a positive number of milliseconds, found -5"),
        ("imfe.head = 0", "found 0"),
        ("imfe.head = nan", "found nan"),
        ("imfe.head = true", "found True"),
        ('imfe.head = "5 ms"', "found '5 ms'"),
        ("imfe.head = ", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_in_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_overrides(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        read_overrides(tmp_path / "none.toml")


def test_stages_that_sum_to_more_than_the_whole_are_refused() -> None:
    with pytest.raises(InputError, match=r"sum to 26\d\.\d ms, more than capture_to_result = 200\.0 ms; lower rtstgcn"):
        Budgets.derive(30, 6, overrides={"rtstgcn": 170.0})


@pytest.mark.parametrize("deadline_ms", [0.0, -1.0, float("inf")])
def test_a_deadline_that_is_no_positive_number_is_refused(deadline_ms: float) -> None:
    with pytest.raises(InputError, match="capture_to_result must be a positive number"):
        Budgets.derive(30, 6, deadline_ms=deadline_ms)
