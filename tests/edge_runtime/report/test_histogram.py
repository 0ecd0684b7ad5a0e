"""The latency histogram: constant memory, and percentiles within the error it states."""

import math
import statistics
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.report.histogram import MAX_NS, RELATIVE_ERROR, LatencyHistogram

DURATIONS = st.lists(
    st.one_of(st.integers(0, 300), st.integers(0, 10**6), st.integers(0, MAX_NS)), min_size=1, max_size=200
)
PERCENTS = st.one_of(st.sampled_from([50, 90, 95, 99, 99.9, 100]), st.floats(0.01, 100))


def filled(samples: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for ns in samples:
        histogram.record(ns)
    return histogram


def nearest_rank(samples: list[int], percent: float) -> int:
    return sorted(samples)[math.ceil(len(samples) * percent / 100) - 1]


@given(DURATIONS, PERCENTS)
def test_every_percentile_is_within_the_stated_error_of_the_true_sample(samples: list[int], percent: float) -> None:
    """Shows that the error bound holds for any distribution, at any magnitude, and is no worse than 1 %."""
    found = filled(samples).percentile(percent)
    assert found is not None
    true = nearest_rank(samples, percent)
    assert abs(found - true) <= RELATIVE_ERROR * true
    assert RELATIVE_ERROR <= 0.01


@given(st.integers(0, MAX_NS))
def test_a_sample_lies_in_the_bucket_that_counts_it(ns: int) -> None:
    ((lower, upper, count),) = filled([ns]).buckets()
    assert lower <= ns <= upper
    assert count == 1
    assert upper - lower <= lower / 64


@given(DURATIONS)
def test_count_mean_deviation_and_extremes_are_exact(samples: list[int]) -> None:
    histogram = filled(samples)
    assert histogram.n == len(samples)
    assert (histogram.min_ns, histogram.max_ns) == (min(samples), max(samples))
    assert histogram.mean_ns == pytest.approx(statistics.fmean(samples))
    assert histogram.std_ns == pytest.approx(statistics.pstdev(samples))


@given(st.lists(st.integers(-5, 4 * MAX_NS) | st.integers(0, 10**6), max_size=200))
def test_counting_many_at_once_equals_counting_them_one_by_one(samples: list[int]) -> None:
    together, single = LatencyHistogram(), filled(samples)
    together.record_all(np.array(samples, np.int64))
    assert list(together.buckets()) == list(single.buckets())
    for figure in ("n", "sum_ns", "min_ns", "max_ns", "std_ns"):
        assert getattr(together, figure) == getattr(single, figure)


@given(DURATIONS, DURATIONS)
def test_merged_histograms_equal_one_histogram_of_all_samples(first: list[int], second: list[int]) -> None:
    merged = filled(first)
    merged.merge(filled(second))
    together = filled(first + second)
    assert list(merged.buckets()) == list(together.buckets())
    assert (merged.n, merged.sum_ns, merged.min_ns, merged.max_ns, merged.std_ns) == (
        together.n,
        together.sum_ns,
        together.min_ns,
        together.max_ns,
        together.std_ns,
    )


def test_merging_an_empty_histogram_changes_nothing() -> None:
    histogram = filled([5])
    histogram.merge(LatencyHistogram())
    assert (histogram.n, histogram.min_ns, histogram.max_ns) == (1, 5, 5)


def test_nothing_recorded_means_no_figures_instead_of_zeros() -> None:
    empty = LatencyHistogram()
    assert (empty.percentile(50), empty.mean_ns, empty.std_ns, empty.p999) == (None, None, None, None)


def test_the_99_9th_percentile_needs_a_thousand_samples() -> None:
    """Shows that p99.9 is withheld while it could only be the maximum."""
    histogram = filled(list(range(1, 1000)))
    assert histogram.p999 is None
    histogram.record(1_000_000)
    assert histogram.p999 == pytest.approx(999, rel=RELATIVE_ERROR)


def test_a_duration_beyond_the_last_bucket_is_counted_there_and_kept_exact_as_the_maximum() -> None:
    histogram = filled([1, 10 * MAX_NS])
    assert histogram.max_ns == 10 * MAX_NS
    assert sum(count for _, _, count in histogram.buckets()) == 2


def test_a_negative_duration_counts_as_zero() -> None:
    assert filled([-5]).percentile(50) == 0


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percent_outside_the_scale_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        filled([1]).percentile(percent)


def test_recording_retains_no_memory() -> None:
    """Shows that 20,000 records of varied size leave the process where it was."""
    histogram = LatencyHistogram()
    samples = [(i * 7919) % 50_000_000 for i in range(20_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for ns in samples:
            histogram.record(ns)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 1024  # the loop's own variable and the counters, whatever the number of samples
