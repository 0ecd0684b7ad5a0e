"""LSTR: frame by frame it is the network that was trained, and it remembers what it says it remembers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from edge_runtime.errors import InputError
from trainer.nets.lstr import Lstr, LstrConfig, split

SIZES: dict[str, Any] = {
    "in_channels": 5,
    "num_node": 3,
    "labels": ("a", "b"),
    "fps": 3.0,
    "short": 3,
    "long": 4,
    "channels": 8,
    "heads": 2,
    "queries": (3, 2),
}


def network(**changes: Any) -> Lstr:
    """Random everywhere, what begins at zero too."""
    torch.manual_seed(0)
    net = Lstr(LstrConfig(**SIZES | changes)).eval()
    for value in net.parameters():
        value.data.add_(torch.randn_like(value), alpha=0.2)
    return net


def trials(length: int, N: int = 2) -> torch.Tensor:
    return torch.randn(N, 5, length, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 30])
def test_step_by_step_equals_the_whole_trial(layers: int, length: int) -> None:
    net, x = network(layers=layers), trials(length)
    state, found = net.initial_state(2), []
    with torch.inference_mode():
        for t in range(length):
            logits, state = net.step(x[:, :, t], state)
            found.append(logits)
        torch.testing.assert_close(torch.stack(found, 2), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_receptive_field_is_exact(layers: int) -> None:
    """Shows that the last output depends on the oldest step of the field, and on none before it."""
    net, x = network(layers=layers), trials(30)
    field = net.config.receptive_field
    assert field == 3 + 4 + (layers - 1) * 2
    with torch.inference_mode():
        expected = net(x)[..., -1]
        for age, changes in ((field, False), (field - 1, True)):
            other = x.clone()
            other[:, :, 29 - age] += 5
            assert bool((net(other)[..., -1] != expected).any()) == changes


def test_the_cached_compression_is_attention_to_the_steps_themselves() -> None:
    """Shows that scores kept since a step came are those that learnt queries give to it when it is old."""
    net = network()
    part = net.compression
    z = torch.randn(2, 4, 8)  # the long memory, oldest first
    with torch.inference_mode():
        scores, values = part.remember(z.flatten(0, 1))
        found = part(scores.view(2, 4, -1), values.view(2, 4, -1))

        q, k, v = (
            split(x, 2) for x in (part.first.query(part.first_tokens[None]), part.first.key(z), part.first.value(z))
        )
        weights = (q @ k.transpose(2, 3) / math.sqrt(4) + part.age).softmax(-1)
        tokens = part.first_forward(part.first.add(part.first_tokens.expand(2, -1, -1), weights @ v))
        expected = part.second_forward(part.second(part.second_tokens.expand(2, -1, -1), tokens))
    torch.testing.assert_close(found, expected)


def test_what_has_not_been_weighs_nothing() -> None:
    """Shows that a stream's first result depends on its first step alone: the empty memory is masked exactly."""
    net, x = network(), trials(1)
    *rest, values = net.initial_state(2)
    with torch.inference_mode():
        # whatever an empty place of the short memory holds, it is not read
        first, _ = net.step(x[:, :, 0], (*rest, values + 100))
        torch.testing.assert_close(first, net(x)[..., 0])


def test_everything_learns() -> None:
    net, x = network(dropout=0.0), trials(12)
    net(x).square().mean().backward()
    idle = {name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum()}
    # a bias that all keys share moves all scores alike, which softmax does not see
    assert idle <= {
        f"{part}.key.bias" for part in ("compression.first", "compression.second", "layers.0.short", "layers.0.long")
    }


@pytest.mark.parametrize("wrong", [{"channels": 9}, {"short": 1}, {"long": 0}, {"layers": 0}, {"queries": (0, 2)}])
def test_sizes_that_make_no_network_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="LSTR: "):
        network(**wrong)
