"""Losses against their definitions on whole trials, and what each is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trainer.losses import IGNORED, LossSettings, TrialLoss, class_weights

WEIGHTS = torch.tensor([0.5, 0.7, 0.8])


def logits(n: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(3, n, generator=torch.Generator().manual_seed(seed))


def whole(scores: torch.Tensor, labels: torch.Tensor, settings: LossSettings) -> torch.Tensor:
    return TrialLoss(labels, WEIGHTS, settings)(scores, 0, has_previous=False)


LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 0, 1])


def test_the_published_loss_is_weighted_cross_entropy_and_truncated_squared_steps() -> None:
    x = logits() * 5
    log_p = x.log_softmax(0)
    step = (log_p[:, 1:] - log_p[:, :-1]).square().clamp(max=16)
    expected = F.cross_entropy(x[None], LABELS[None], WEIGHTS) + 0.15 * step.mean()
    torch.testing.assert_close(whole(x, LABELS, LossSettings()), expected)


def test_smoothing_pulls_the_later_frame_only() -> None:
    x = logits().requires_grad_()
    log_p = x.log_softmax(0)
    (log_p[:, 1:] - log_p[:, :-1].detach()).square().clamp(max=16).mean().mul(0.15).backward()
    expected, x.grad = x.grad, None
    (whole(x, LABELS, LossSettings()) - whole(x, LABELS, LossSettings(smoothing=0.0))).backward()
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "segmental"])
def test_pieces_add_up_to_the_trial(kind: str) -> None:
    loss = TrialLoss(LABELS, WEIGHTS, LossSettings(kind=kind))  # type: ignore[arg-type]
    x = logits()
    parts = loss(x[:, :5], 0, has_previous=False) + loss(x[:, 4:6], 5, has_previous=True) + loss(x[:, 5:], 6, True)
    torch.testing.assert_close(parts, loss(x, 0, has_previous=False))


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "segmental"])
def test_ignored_frames_change_nothing(kind: str) -> None:
    settings = LossSettings(kind=kind)  # type: ignore[arg-type]
    longer = torch.cat([LABELS, torch.full((4,), IGNORED)])
    x = torch.cat([logits(), logits(4, seed=1)], dim=1)
    torch.testing.assert_close(whole(x, longer, settings), whole(x[:, :12], LABELS, settings))


def test_focal_loss_without_focus_is_cross_entropy_and_with_it_spares_easy_frames() -> None:
    x = logits()
    plain = LossSettings(smoothing=0)
    torch.testing.assert_close(
        whole(x, LABELS, LossSettings(kind="focal", focus=0, smoothing=0)), whole(x, LABELS, plain)
    )
    easy = 6 * F.one_hot(LABELS, 3).T.float()
    ratio = whole(easy, LABELS, LossSettings(kind="focal", smoothing=0)) / whole(easy, LABELS, plain)
    assert ratio < 0.01


def test_segmental_loss_gives_a_short_segment_the_weight_of_a_long_one() -> None:
    labels = torch.tensor([0] * 2 + [1] * 20)
    settings = LossSettings(kind="segmental", smoothing=0, border=0)
    right = 5 * F.one_hot(labels, 3).T.float()
    short, long = right.clone(), right.clone()
    short[:, :2] = 0
    long[:, 2:] = 0
    torch.testing.assert_close(whole(short, labels, settings), whole(long, labels, settings))


def test_segmental_loss_charges_a_spurious_border_and_not_a_true_one() -> None:
    labels = torch.tensor([0] * 10 + [1] * 10)
    settings = LossSettings(kind="segmental", smoothing=0, border=1)
    free = LossSettings(kind="segmental", smoothing=0, border=0)
    sure = 50 * F.one_hot(labels, 3).T.float()
    flicker = 50 * F.one_hot(torch.tensor([0] * 5 + [2] + [0] * 4 + [1] * 10), 3).T.float()
    assert whole(sure, labels, settings) - whole(sure, labels, free) == pytest.approx(0, abs=1e-6)
    # two borders within two true segments: one a segment
    assert whole(flicker, labels, settings) - whole(flicker, labels, free) == pytest.approx(1, abs=1e-6)


def test_class_weights() -> None:
    frames = torch.tensor([60, 30, 10])
    torch.testing.assert_close(class_weights(frames, "rarity"), torch.tensor([0.4, 0.7, 0.9]))
    balanced = class_weights(frames, "inverse_root")
    assert (balanced * frames).sum() / frames.sum() == pytest.approx(1)
    assert balanced[2] / balanced[0] == pytest.approx(6**0.5)
    assert class_weights(frames, "none").tolist() == [1, 1, 1]
