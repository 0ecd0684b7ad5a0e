"""Motion teachers: one that needs no download, the flow network of the baselines, and the published one, a TSN."""

from __future__ import annotations

import numpy as np
import torch

from trainer.data.clips import UInt8Array
from trainer.data.flow import flow_pictures, grid_flow
from trainer.data.rawframes import RawVideo
from trainer.engine.imfe_baselines import FlowNet
from trainer.engine.imfe_extract import Describe, Extractor, Features
from trainer.nets.folding import fold_norms
from trainer.nets.imfe import ImfeConfig
from trainer.nets.tsn import SIZE, FlowTsn

CLIPS_AT_ONCE = 8  # bounds the memory


def teacher_extractor(net: FlowNet, config: ImfeConfig) -> Extractor:
    """Its features of clips of the published layout; ``config`` is the student's, whose input size it sees."""
    net.eval()

    @torch.inference_mode()
    def compute(clips: UInt8Array) -> tuple[Features, Features]:
        features, regions = net.describe([torch.from_numpy(grid_flow(clip)) for clip in clips])
        return np.asarray(features, np.float32), np.asarray(regions, np.float32)

    return Extractor(config.height, config.width, compute)


def tsn_describer(net: FlowTsn, device: torch.device) -> Describe:
    """Its features of clips of the published layout; the regions are the feature as a single region."""
    fold_norms(net)
    net.to(device)

    @torch.inference_mode()
    def describe(video: RawVideo) -> tuple[Features, Features]:
        pictures = torch.split(torch.from_numpy(flow_pictures(video, SIZE)), CLIPS_AT_ONCE)
        features = torch.cat([net(some.to(device)) for some in pictures]).cpu().numpy()
        return features, features[..., None]

    return describe
