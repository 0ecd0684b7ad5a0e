from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.nets import graph_product as products
from trainer.nets.layers import ChannelNorm, FrameNorm, delayed, relu_join, sliding_sum


def naive_sum(x: Tensor, taps: int, dilation: int) -> Tensor:
    out = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for i in range(taps):
            if t - i * dilation >= 0:
                out[:, t] += x[:, t - i * dilation]
    return out


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4))
def test_the_sliding_sum_is_the_sum_of_its_taps(L: int, taps: int, dilation: int) -> None:
    """Shows that blocks of one window give the plain sum, for any length, also shorter than the window."""
    x = torch.randn(2, L, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(sliding_sum(x, taps, dilation), naive_sum(x, taps, dilation))


@pytest.mark.parametrize(("taps", "dilation"), [(3, 1), (4, 2), (7, 3)])
def test_its_gradient_is_exact(taps: int, dilation: int) -> None:
    x = torch.randn(1, 17, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: sliding_sum(value, taps, dilation), x)


def test_a_burst_leaves_no_error_behind() -> None:
    """Shows that rounding never outlives two windows: 1e6 for a hundred frames, then the sums are as without it."""
    x = torch.randn(1, 2000, 1, 4)
    burst = x.clone()
    burst[:, 500:600] *= 1e6
    after = slice(600 + 2 * 69, None)
    expected = sliding_sum(x.double(), 69, 1)[:, after]
    assert (sliding_sum(burst, 69, 1)[:, after].double() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("sparse", [False, True], ids=["all nodes", "bones"])
def test_the_graph_product_is_two_products_with_exact_gradients(monkeypatch: pytest.MonkeyPatch, sparse: bool) -> None:
    """Shows that frames taken a few at a time, and bones alone, give what all of them at once give."""
    monkeypatch.setattr(products, "AT_ONCE", 100)  # four frames
    x = torch.randn(15, 4, 3, dtype=torch.float64, requires_grad=True)
    bones = torch.rand(8, 4) < 0.4 if sparse else torch.ones(8, 4, dtype=torch.bool)  # two partitions
    aggregation = (torch.randn(8, 4, dtype=torch.float64) * bones).requires_grad_()
    mixing = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    edges = bones.nonzero().t() if sparse else None
    plain = (aggregation * bones @ x).view(len(x), 4, 6) @ mixing
    found = products.graph_product(x, aggregation, mixing, edges)
    torch.testing.assert_close(found, plain)
    wanted, inputs = torch.randn_like(plain), (x, aggregation, mixing)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, wanted), torch.autograd.grad(plain, inputs, wanted))


def test_joined_relus_have_exact_gradients() -> None:
    y, skipped = (torch.randn(50, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(relu_join(y.clone(), skipped), (y.relu() + skipped).relu())
    assert torch.autograd.gradcheck(lambda a, b: relu_join(a.clone(), b), (y, skipped))


def test_the_frame_norm_is_the_published_formula() -> None:
    """Shows that the fused LayerNorm with corrected epsilon and weight divides by the unbiased deviation."""
    norm = FrameNorm(3, 5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 7, 5, 3) * 1e-2  # small, so that epsilon matters
    published = x.permute(0, 3, 1, 2)  # (N, C, L, V)
    mean = published.mean((1, 3), keepdim=True)
    variance = published.var((1, 3), unbiased=True, keepdim=True)
    expected = (published - mean) / torch.sqrt(variance + 1e-5) * norm.weight + norm.bias
    torch.testing.assert_close(norm(x).permute(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-5)


def test_a_frame_of_one_value_is_normalised_to_its_bias() -> None:
    norm = FrameNorm(1, 1)
    assert torch.isfinite(norm(torch.randn(1, 4, 1, 1))).all()


def test_a_folded_batch_norm_is_the_batch_norm() -> None:
    norm = ChannelNorm(4)
    norm(torch.randn(100, 4) * 3 + 2)
    norm.eval()
    x = torch.randn(2, 5, 3, 4)
    gain, offset = norm.folded()
    torch.testing.assert_close(norm(x), x * gain + offset)


def test_a_delay_shows_nothing_before_the_start() -> None:
    x = torch.arange(5.0).view(1, 5, 1, 1)
    assert delayed(x, 2).flatten().tolist() == [0, 0, 0, 1, 2]
    assert delayed(x, 7).flatten().tolist() == [0, 0, 0, 0, 0]
