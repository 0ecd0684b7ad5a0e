"""Metrics against an independent implementation, on random label strings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics import (
    Scores,
    average_precision,
    detection_delays,
    edit_score,
    segment_counts,
    segments,
)

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=12).map(
    lambda runs: np.repeat([label for label, _ in runs], [n for _, n in runs])
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = draw(labels), draw(labels)
    n = min(len(predicted), len(truth))
    return predicted[:n], truth[:n]


def runs(sequence: np.ndarray) -> list[tuple[int, int, int]]:
    """(label, start, stop), written the slow way."""
    out, start = [], 0
    for label, group in itertools.groupby(sequence.tolist()):
        n = len(list(group))
        out.append((label, start, start + n))
        start += n
    return out


def slow_f1(predicted: np.ndarray, truth: np.ndarray, threshold: float, strictly: bool) -> tuple[int, int, int]:
    """Frame sets instead of borders: intersection over union of the sets of frames."""
    true_runs = runs(truth)
    found: set[int] = set()
    false = 0
    for label, start, stop in runs(predicted):
        best, which = 0.0, -1
        for i, (other, a, b) in enumerate(true_runs):
            if other == label:
                mine, theirs = set(range(start, stop)), set(range(a, b))
                iou = len(mine & theirs) / len(mine | theirs)
                if iou > best:
                    best, which = iou, i
        reached = best > threshold if strictly else best >= threshold
        if reached and which not in found:
            found.add(which)
        else:
            false += 1
    return len(found), false, len(true_runs) - len(found)


def slow_levenshtein(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    substituted = slow_levenshtein(a[1:], b[1:]) + (a[0] != b[0])
    return (
        min(substituted, slow_levenshtein(a[1:], b) + 1, slow_levenshtein(a, b[1:]) + 1)
        if a[0] != b[0]
        else (substituted)
    )


@given(labels)
def test_segments_are_the_runs_of_equal_labels(sequence: np.ndarray) -> None:
    s = segments(sequence)
    assert list(zip(s.label.tolist(), s.start.tolist(), s.stop.tolist(), strict=True)) == runs(sequence)


@given(pairs(), st.sampled_from([0.1, 0.25, 0.5]), st.booleans())
def test_f1_counts_agree_with_sets_of_frames(
    pair: tuple[np.ndarray, np.ndarray], threshold: float, strictly: bool
) -> None:
    counts = segment_counts(*pair, threshold, strictly)
    assert (counts.hit, counts.false, counts.missed) == slow_f1(*pair, threshold, strictly)


@given(pairs())
def test_edit_score_agrees_with_the_recursive_definition(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = ([label for label, _, _ in runs(s)][:7] for s in pair)
    expected = 1 - slow_levenshtein(a, b) / max(len(a), len(b))
    assert edit_score(np.array(a), np.array(b)) == pytest.approx(expected)


@given(labels)
def test_a_perfect_prediction_scores_one_everywhere(truth: np.ndarray) -> None:
    scores = Scores(classes=4, fps=10)
    scores.add(np.eye(4, dtype=np.float32)[truth].T, truth)
    result = scores.result()
    assert result.pop("time_to_detection") == 0
    assert all(value == pytest.approx(1) for value in result.values())


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_the_area_under_the_stepwise_curve(frames: list[tuple[int, bool]]) -> None:
    score, positive = np.array([s for s, _ in frames], float), np.array([p for _, p in frames])
    if not positive.any():
        assert np.isnan(average_precision(score, positive))
        return
    area, recall = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        now = (chosen & positive).sum() / positive.sum()
        area += (now - recall) * (chosen & positive).sum() / chosen.sum()
        recall = now
    assert average_precision(score, positive) == pytest.approx(area)


def test_iou_of_exactly_the_threshold_counts_for_ms_gcn_and_not_for_the_published_one() -> None:
    truth, predicted = np.array([1, 1, 2, 2]), np.array([1, 2, 2, 2])
    assert segment_counts(predicted, truth, 0.5, strictly=False).hit == 2
    assert segment_counts(predicted, truth, 0.5, strictly=True).hit == 1


def test_per_trial_f1_is_a_mean_over_trials_and_pooled_f1_is_not() -> None:
    scores = Scores(classes=2)
    scores.add(np.eye(2)[np.array([0, 0, 0, 0])].T, np.array([0, 0, 0, 0]))
    fragments = np.array([0, 1, 0, 1, 0, 1])
    scores.add(np.eye(2)[fragments].T, np.array([0, 0, 0, 0, 0, 1]))
    result = scores.result()
    second = segment_counts(fragments, np.array([0, 0, 0, 0, 0, 1]), 0.5, strictly=True).f1
    assert result["f1@50"] == pytest.approx((1 + second) / 2)
    assert result["pooled_f1@50"] == pytest.approx(2 * 2 / (2 * 2 + 5 + 1))


def test_detection_delay_runs_from_the_start_of_the_action_to_its_first_right_name() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    assert detection_delays(predicted, truth).tolist() == [0, 2, np.inf]


def test_time_to_detection_includes_the_networks_own_delay() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    scores = Scores(classes=2, fps=10, delay=4)
    scores.add(np.eye(2)[truth].T, truth)
    assert scores.result()["time_to_detection"] == pytest.approx(0.4)


def test_top5_counts_a_frame_whose_class_is_among_the_five_likeliest() -> None:
    scores = Scores(classes=7)
    scores.add(np.tile(np.arange(7, dtype=np.float32)[:, None], 7), np.arange(7))
    assert scores.result()["top5"] == pytest.approx(5 / 7)
    assert scores.result()["accuracy"] == pytest.approx(1 / 7)
