"""A motion teacher that needs no download: the flow network of the baselines, and the rows that it gives for videos."""

from __future__ import annotations

import numpy as np
import torch

from trainer.data.clips import UInt8Array
from trainer.data.flow import grid_flow
from trainer.engine.imfe_baselines import FlowNet
from trainer.engine.imfe_extract import Extractor, Features
from trainer.nets.imfe import ImfeConfig


def teacher_extractor(net: FlowNet, config: ImfeConfig) -> Extractor:
    """Its features of clips of the published layout; ``config`` is the student's, whose input size it sees."""
    net.eval()

    @torch.inference_mode()
    def compute(clips: UInt8Array) -> tuple[Features, Features]:
        features, regions = net.describe([torch.from_numpy(grid_flow(clip)) for clip in clips])
        return np.asarray(features, np.float32), np.asarray(regions, np.float32)

    return Extractor(config.height, config.width, compute)
