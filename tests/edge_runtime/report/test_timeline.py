"""The timeline: constant memory, nothing left out."""

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.report.timeline import Timeline


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4), st.booleans()), max_size=100))
def test_however_long_the_run_no_result_is_left_out_and_the_bins_stay_few(
    results: list[tuple[float, float, bool]],
) -> None:
    """Shows that folding keeps counts, misses and the worst result, over 12 days as over 12 seconds."""
    timeline = Timeline(capacity=16)
    for t_s, ms, missed in sorted(results):
        timeline.result(t_s, ms, missed)
    told = timeline.as_json()["bins"]
    assert len(told) <= 16
    assert sum(one["results"] for one in told) == len(results)
    assert sum(one["misses"] for one in told) == sum(missed for _, _, missed in results)
    assert max((one["max_ms"] or 0 for one in told), default=0) == max((ms for _, ms, _ in results), default=0)


def test_a_result_lies_in_the_bin_of_its_time() -> None:
    timeline = Timeline(capacity=4, width_s=1)
    timeline.result(0.5, 10, False)
    timeline.dropped(2.5, "overload", 3)
    timeline.result(9, 20, True)  # beyond 4 s: bins of 2 s, then of 4 s
    told = timeline.as_json()
    assert told["bin_s"] == 4
    assert [(one["t_s"], one["results"], one["dropped"]) for one in told["bins"]] == [
        (0, 1, {"overload": 3}),
        (4, 0, {}),
        (8, 1, {}),
    ]
