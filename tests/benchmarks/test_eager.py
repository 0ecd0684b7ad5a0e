"""What the runtime is timed against computes the same network."""

from __future__ import annotations

import pytest
import torch

from benchmarks.eager import AsPublished, OwnStep
from trainer.nets.graph import Graph
from trainer.nets.network_config import LayerConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

LAYERS = (LayerConfig(8, 8, 4), LayerConfig(8, 12, 3, 2, "conv"), LayerConfig(12, 12, 2))


@pytest.mark.parametrize("manner", [AsPublished, OwnStep])
def test_an_eager_step_gives_the_networks_logits(manner: type[AsPublished] | type[OwnStep]) -> None:
    """Shows that frame by frame, over several rounds of every FIFO, the stand-in equals the network over the trial."""
    torch.manual_seed(0)
    network = RtStgcn(NetworkConfig(3, Graph(5, ((0, 1), (1, 2), (2, 3), (2, 4)), 2), ("a", "b"), LAYERS)).eval()
    x = torch.randn(1, 3, 40, 5)
    with torch.inference_mode():
        expected = network(x)[0].T  # (L, classes)
    eager = manner(network)
    found = torch.cat([eager.step(x[:, :, t]) for t in range(x.shape[2])])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
