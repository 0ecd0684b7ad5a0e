from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.nets.imfe import FeatureEncoder

Gradients = dict[str, Tensor]


def encoder(dtype: torch.dtype = torch.float64) -> FeatureEncoder:
    torch.manual_seed(0)
    net = FeatureEncoder((8, 16, 24), 32).to(dtype).train()
    for parameter in net.parameters():  # norms that do something, and biases
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return net


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(4, 3, 40, 56, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


def step(net: FeatureEncoder, x: Tensor, lean: bool) -> Gradients:
    """Gradients of a loss that no position or channel is alike in, after two passes as an accumulated step has them."""
    for scale in (1.0, 0.5):
        out = net(x * scale) if lean else net.conv(net.stages(x * scale))
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).sin()
        (out.double() * weights).sum().backward()
    found = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    return found if x.grad is None else found | {"x": x.grad}


def assert_close(found: Gradients, expected: Gradients, tolerance: float) -> None:
    largest = max(float(grad.abs().max()) for grad in expected.values())
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert float((found[name] - grad).abs().max()) <= tolerance * largest, name


@pytest.mark.parametrize("fixed", [False, True], ids=["batch statistics", "running statistics"])
def test_gradients_and_statistics_are_the_plain_encoders(fixed: bool) -> None:
    """Shows that nothing but memory changes, for parameters and for the images, whichever statistics the norms use."""
    plain = encoder()
    if fixed:
        for part in plain.modules():
            part.training = part is plain  # as where a trained encoder's norms are frozen
    lean = copy.deepcopy(plain)
    assert_close(step(lean, images().requires_grad_(), True), step(plain, images().requires_grad_(), False), 1e-12)
    for (name, found), expected in zip(lean.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(found, expected), name


def test_images_need_no_gradient() -> None:
    found, expected = step(encoder(), images(), True), step(encoder(), images(), False)
    assert "x" not in found
    assert_close(found, expected, 1e-12)


def test_mixed_precision_is_that_of_the_plain_encoder() -> None:
    """Shows that under autocast the same parts run in bfloat16, forward and backward, and gradients come in float32."""
    with torch.autocast("cpu", torch.bfloat16):
        found = step(encoder(torch.float32), images(torch.float32), True)
        expected = step(encoder(torch.float32), images(torch.float32), False)
    assert {grad.dtype for grad in found.values()} == {torch.float32}
    assert_close(found, expected, 0.01)


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches every map that an operator makes within."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, Tensor):
                self._storages.add(each.untyped_storage())
        return out

    @property
    def alive(self) -> int:
        """Bytes of those that are still there."""
        return sum(int(storage.nbytes()) for storage in self._storages)


def test_only_what_the_convolutions_gave_is_kept() -> None:
    """Shows the point of it: little more than half of what plain autograd keeps for the backward pass."""

    def kept(lean: bool) -> int:
        net, x = encoder(), images()
        made = Made()
        with made:
            out = net(x) if lean else net.conv(net.stages(x))
        assert out.requires_grad
        return made.alive

    assert 0 < kept(True) < 0.55 * kept(False)
