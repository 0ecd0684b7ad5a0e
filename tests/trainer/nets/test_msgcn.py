"""MS-GCN's released weights, loaded as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_runtime.models.metadata import Graph
from tests.recordings import recording
from trainer import checkpoint as checkpoints
from trainer.metrics import Counts, segment_counts
from trainer.nets.family import OPTIONAL
from trainer.nets.msgcn import MsGcn
from trainer.nets.network_config import MultiStageConfig
from trainer.nets.state_dict import load_state

LEGS = Graph(6, ((1, 0), (2, 1), (3, 0), (4, 3), (5, 0)), center=0)  # thigh, shin, foot; right, then left
SENSORS = [2, 1, 0, 5, 4, 3]  # where those lie in HuGaDB's own order, foot to thigh
SHORT_TRIALS = 12


def released() -> MsGcn:
    path = recording("msgcn_pretrained/*.model")
    model = MsGcn(MultiStageConfig(6, LEGS, tuple(str(i) for i in range(12))))
    load_state(model, checkpoints.load(path), "model_state_dict", str(path), optional=OPTIONAL)
    return model.eval()


@pytest.mark.slow
def test_the_released_weights_recognise_real_recordings() -> None:
    """Shows that the network is the published one: on short trials as good as its authors say (90, 93 %)."""
    with np.load(recording("hugadb/*.npz")) as data:
        offsets, X, y = data["offsets"], data["X"], data["y"]
    model, right, frames, segments = released(), 0, 0, Counts()
    for i in np.argsort(np.diff(offsets))[:SHORT_TRIALS]:
        trial = slice(offsets[i], offsets[i + 1])
        x = torch.from_numpy(X[trial].astype(np.float32)).view(-1, 6, 6)[:, SENSORS].permute(2, 0, 1)
        with torch.inference_mode():
            found = model(x[None])[-1, 0].argmax(0).numpy()
        truth = y[trial].astype(np.int64)
        right, frames = right + int((found == truth).sum()), frames + len(truth)
        segments = segments + segment_counts(found, truth, 0.5, strictly=False)
    assert right / frames > 0.85
    assert segments.f1 > 0.85
