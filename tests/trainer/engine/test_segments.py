"""Shows that a trial cut into segments trains and scores as the whole trial does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from edge_runtime.models.metadata import Graph
from trainer.engine.segments import Passes, accumulate, cut, predict, targets
from trainer.losses import IGNORED, LossSettings
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

GRAPH = Graph(3, ((0, 1), (1, 2)), 1)
CAUSAL = (LayerConfig(4, 6, 3, residual="conv"), LayerConfig(6, 6, 4, dilation=2))
DELAYED = (LayerConfig(4, 6, 3, residual="conv"), LayerConfig(6, 6, 4, dilation=2, residual_delay=4))


def network(layers: tuple[LayerConfig, ...] = CAUSAL) -> RtStgcn:
    torch.manual_seed(0)
    return RtStgcn(NetworkConfig(2, GRAPH, ("a", "b", "c"), layers))


def trial(length: int = 57, trials: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 3, (trials, length // 5 + 1)), 5, axis=1)[:, :length]
    return rng.standard_normal((trials, 2, length, 3)).astype(np.float32), labels


def gradient(net: RtStgcn, passes: Passes, loss: LossSettings, length: int = 57, trials: int = 1) -> torch.Tensor:
    net.zero_grad()
    accumulate(net, *trial(length, trials), loss, torch.tensor([0.5, 0.7, 0.8]), passes, 1 / trials)
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "segmental"])
@pytest.mark.parametrize("layers", [CAUSAL, DELAYED], ids=["causal", "delayed"])
@pytest.mark.parametrize("segment", [1, 7, 20])
def test_gradients_of_segments_add_up_to_the_whole_trials(
    kind: str, layers: tuple[LayerConfig, ...], segment: int
) -> None:
    net, loss = network(layers), LossSettings(kind=kind)  # type: ignore[arg-type]
    whole = gradient(net, Passes(1000), loss)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(gradient(net, Passes(segment), loss), whole, rtol=1e-5, atol=1e-5)


def test_gradients_agree_when_only_every_nth_output_is_trained() -> None:
    net = network((LayerConfig(4, 6, 4, residual="conv"), LayerConfig(6, 6, 4, dilation=2)))
    whole = gradient(net, Passes(1000, every=2), LossSettings())
    torch.testing.assert_close(gradient(net, Passes(10, every=2), LossSettings()), whole, rtol=1e-5, atol=1e-5)


def test_trials_of_one_length_may_run_together() -> None:
    net = network()
    features, labels = trial(trials=3)
    together = gradient(net, Passes(20), LossSettings(), trials=3)
    net.zero_grad()
    for x, y in zip(features, labels, strict=True):
        accumulate(net, x[None], y[None], LossSettings(), torch.tensor([0.5, 0.7, 0.8]), Passes(20), 1 / 3)
    one_by_one = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("segment", [1, 8, 100])
def test_segmented_prediction_is_the_whole_trials(segment: int) -> None:
    net = network().eval()
    features = trial()[0][0]
    expected = net(torch.from_numpy(features)[None])[0].detach().numpy()
    np.testing.assert_allclose(predict(net, features, Passes(segment)), expected, atol=1e-5)


def test_prediction_of_a_network_with_a_delay_speaks_of_every_frame() -> None:
    net = network(DELAYED).eval()
    features = trial()[0][0]
    logits = predict(net, features, Passes(9))
    assert logits.shape == (3, 57)
    late = net(torch.from_numpy(features)[None])[0].detach().numpy()
    np.testing.assert_allclose(logits[:, :-4], late[:, 4:], atol=1e-5)


def test_targets_are_held_back_by_the_delay() -> None:
    labels = np.arange(6)[None]
    assert targets(labels, 2).tolist() == [[IGNORED, IGNORED, 0, 1, 2, 3]]
    assert targets(labels, 2, every=3).tolist() == [[0, 3]]


def test_pieces_cover_a_trial_once_and_stay_inside_it() -> None:
    pieces = cut(23, 10, before=4, after=2)
    assert [(p.start, p.stop) for p in pieces] == [(0, 10), (10, 20), (20, 23)]
    assert [(p.begin, p.end) for p in pieces] == [(0, 12), (6, 22), (16, 23)]


def saved_for_backward(run: Callable[[], object]) -> int:
    """Largest number of values that autograd keeps at once while ``run`` runs."""
    live = peak = 0

    def pack(x: torch.Tensor) -> torch.Tensor:
        nonlocal live, peak
        live += x.numel()
        peak = max(peak, live)
        return x

    def unpack(x: torch.Tensor) -> torch.Tensor:
        nonlocal live
        live -= x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        run()
    return peak


def test_memory_does_not_grow_with_the_trial() -> None:
    net = network()
    short, long = (
        saved_for_backward(lambda n=n: gradient(net, Passes(100), LossSettings(), length=n)) for n in (500, 4_000)
    )
    whole = saved_for_backward(lambda: gradient(net, Passes(4_000), LossSettings(), length=4_000))
    # the whole trial's labels and weights are kept beside a piece's activations
    assert long < 1.3 * short
    assert whole > 5 * long
