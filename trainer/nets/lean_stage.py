"""A stage of the encoder that trains in less memory: of its maps only what the convolutions gave is kept.

::

    c1 = conv(x)    kept          a  = ReLU(norm(c1))           made anew in the backward pass, when it is needed
    c2 = conv(a)    kept          out = ReLU(x + ReLU(norm(c2)))

Plain autograd keeps all of them. Norms and ReLUs are a few percent of a step's time, so making them twice costs little;
the convolutions, which are the rest, are not done again. Gradients and running statistics are the plain stage's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from edge_runtime.memory import give_back

aten = torch.ops.aten

# Bytes of one picture's map. Of smaller pictures a step takes little, and maps again at once what was given back: a
# quarter of the time of finetuning the zoo's network (40 against 32 s of processor time an epoch of 300 clips).
LARGE = 1 << 19

Found = dict[Tensor, Tensor]  # the parameters' gradients


class Block(Protocol):
    """A part of a stage that ends in a ReLU. ``forward`` first, then ``again`` at will, then ``backward`` once."""

    @property
    def parameters(self) -> list[nn.Parameter]: ...

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, C_out, h', w')."""

    def again(self, x: Tensor) -> Tensor:
        """What ``forward`` gave for ``x``, from what was kept."""

    def backward(self, grad: Tensor, x: Tensor, found: Found, wanted: bool) -> Tensor:
        """Gradient before the last ReLU -> that of ``x`` where ``wanted``; the parameters' go into ``found``."""


class ConvNorm:
    """A convolution with its norm; it keeps what the convolution gave."""

    def __init__(self, layers: nn.Sequential) -> None:
        self._conv, self._norm = cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1])

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [*self._conv.parameters(), *self._norm.parameters()]

    def forward(self, x: Tensor) -> Tensor:
        """What the norm gives."""
        norm = self._norm
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        self._kept = self._conv(x)
        running = norm.running_mean, norm.running_var, norm.training, norm.momentum, norm.eps
        y, self._mean, self._inverse_std = aten.native_batch_norm(self._kept, norm.weight, norm.bias, *running)
        return cast(Tensor, y)

    def again(self) -> Tensor:
        """The same once more; the running statistics stay as they are."""
        norm = self._norm
        running = (None, None) if norm.training else (norm.running_mean, norm.running_var)
        y = aten.native_batch_norm(self._kept, norm.weight, norm.bias, *running, norm.training, 0.0, norm.eps)[0]
        return cast(Tensor, y)

    def backward(self, grad: Tensor, found: Found) -> Tensor:
        """Gradient after the norm -> after the convolution."""
        norm = self._norm
        statistics = norm.running_mean, norm.running_var, self._mean, self._inverse_std, norm.training, norm.eps
        into, found[norm.weight], found[norm.bias] = aten.native_batch_norm_backward(
            grad, self._kept, norm.weight, *statistics, (True, True, True)
        )
        del self._kept
        return cast(Tensor, into)

    def backward_conv(self, grad: Tensor, x: Tensor, found: Found, wanted: bool = True) -> Tensor:
        """Gradient after the convolution -> that of its input ``x``, where ``wanted``."""
        conv, dtype = self._conv, grad.dtype  # in mixed precision the convolution ran in bfloat16
        assert conv.bias is not None
        where = conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups
        into, found[conv.weight], found[conv.bias] = aten.convolution_backward(
            grad, x.to(dtype), conv.weight.to(dtype), conv.bias.shape, *where, (wanted, True, True)
        )
        return cast(Tensor, into)


class Stem:
    """Convolution, norm, ReLU."""

    def __init__(self, layers: nn.Sequential) -> None:
        self._only = ConvNorm(layers)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return self._only.parameters

    def forward(self, x: Tensor) -> Tensor:
        return self._only.forward(x).relu_()

    def again(self, x: Tensor) -> Tensor:
        return self._only.again().relu_()

    def backward(self, grad: Tensor, x: Tensor, found: Found, wanted: bool) -> Tensor:
        return self._only.backward_conv(self._only.backward(grad, found), x, found, wanted)


class Residual:
    """RAFT's residual block, ``relu(skip(x) + relu(second(relu(first(x)))))``."""

    def __init__(self, first: nn.Sequential, second: nn.Sequential, skip: nn.Sequential | None) -> None:
        self._first, self._second = ConvNorm(first), ConvNorm(second)
        self._skip = ConvNorm(skip) if skip is not None else None

    @property
    def parameters(self) -> list[nn.Parameter]:
        parts = self._first, self._second, self._skip
        return [parameter for part in parts if part is not None for parameter in part.parameters]

    def forward(self, x: Tensor) -> Tensor:
        y = self._second.forward(self._first.forward(x).relu_()).relu_()
        return y.add_(x if self._skip is None else self._skip.forward(x)).relu_()

    def again(self, x: Tensor) -> Tensor:
        return self._second.again().relu_().add_(x if self._skip is None else self._skip.again()).relu_()

    def backward(self, grad: Tensor, x: Tensor, found: Found, wanted: bool) -> Tensor:
        y = _relu_backward(grad, self._second.again())
        y = self._second.backward(y, found)
        between = self._first.again().relu_()
        y = self._second.backward_conv(y, between, found)
        y = _relu_backward(y, between)
        del between
        y = self._first.backward(y, found)
        y = self._first.backward_conv(y, x, found, wanted)
        if self._skip is not None:
            grad = self._skip.backward_conv(self._skip.backward(grad, found), x, found, wanted)
        return y.add_(grad) if wanted else y


def _relu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """The gradient before a ReLU from that after it, written over ``y``, which it took or gave."""
    return cast(Tensor, aten.threshold_backward.grad_input(grad, y, 0, grad_input=y))


class _LeanStage(torch.autograd.Function):
    """See :func:`lean_stage`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Sequence[Block], *parameters: nn.Parameter) -> Tensor:
        ctx.save_for_backward(x)
        ctx.blocks, ctx.parameters = list(blocks), parameters
        for block in blocks:
            x = block.forward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (start,) = ctx.saved_tensors
        found: Found = {}
        if grad[0].nbytes > LARGE:
            give_back()  # 150 of 680 MB at the base geometry, in some milliseconds
        while ctx.blocks:
            last = ctx.blocks.pop()
            x = start
            for block in ctx.blocks:
                x = block.again(x)
            grad = _relu_backward(grad, last.again(x))
            grad = last.backward(grad, x, found, ctx.needs_input_grad[0] or bool(ctx.blocks))
        return grad if ctx.needs_input_grad[0] else None, None, *(found[each] for each in ctx.parameters)


def lean_stage(blocks: Sequence[Block], x: Tensor) -> Tensor:
    """``blocks`` one after the other, (B, C_in, h, w) -> (B, C_out, h', w')."""
    parameters = [parameter for block in blocks for parameter in block.parameters]
    out: Tensor = _LeanStage.apply(x, blocks, *parameters)  # type: ignore[no-untyped-call]
    return out
