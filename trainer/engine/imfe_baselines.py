"""What IMFE is judged against, trained on the same clips by the same loop.

- ``AppearanceNet``: single pictures, their opinions averaged over the clip. It shows how much of a data set can be
  guessed from what people and places look like, without any motion.
- ``FlowNet``: the two-stream way that IMFE replaces: optical flow (OpenCV's DIS), a small convolutional network over
  the flow of six frames, and the same graph head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.data.flow import grid_flow
from trainer.engine.imfe_recogniser import ClipNet, Head, Recognition, flow_target, padded
from trainer.nets.imfe import EXPANSION, ImfeConfig, appearance_net, region_pool_matrix


class AppearanceNet(ClipNet):
    """Every ``hop``-th picture by itself: the network of IMFE's RGB stream, and an opinion on what it sees."""

    def __init__(
        self, config: ImfeConfig, labels: Sequence[str], background: str | None, hop: int, dropout: float
    ) -> None:
        super().__init__(labels, background, config.fps)
        self.hop = hop
        self.mean, self.std = torch.tensor(config.mean), torch.tensor(config.std)
        self.appearance = appearance_net(config)
        width = config.head[1][1] * EXPANSION
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(labels)))

    def forward(self, clips: Sequence[Tensor]) -> Recognition:
        chosen = [clip[:: self.hop] for clip in clips]
        x = ((torch.cat(chosen).float() - self.mean) / self.std).movedim(-1, 1)  # (frames, 3, H, W)
        features = self.appearance(x.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        return Recognition(*padded(self.classify(features), [len(clip) for clip in chosen]), flow=None)


class FlowNet(ClipNet):
    """The flow of a clip's pairs on the 8-pixel grid -> three convolutions -> regions -> head.

    The last convolution is as wide as the head's input.
    """

    WIDTHS = (32, 48)
    region_pool: Tensor

    def __init__(self, config: ImfeConfig, head: Head, hop: int) -> None:
        super().__init__(head.config.labels, head.config.background, config.fps)
        self.hop, self.clip_length = hop, config.clip_length
        c1, c2 = self.WIDTHS
        c3 = head.config.in_channels
        self.motion = nn.Sequential(
            *self._conv(2 * (config.clip_length - 1), c1, 1), *self._conv(c1, c2, 2), *self._conv(c2, c3, 2)
        )
        self.head = head
        pool = region_pool_matrix(config.last_map_size, config.region_grid)
        self.register_buffer("region_pool", pool, persistent=False)

    @staticmethod
    def _conv(c_in: int, c_out: int, stride: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)

    def forward(self, clips: Sequence[Tensor]) -> Recognition:
        flows = [torch.from_numpy(grid_flow(clip.numpy())) for clip in clips]
        _, regions = self.describe(flows)
        trials, valid = padded(regions, [(len(flow) + 1 - self.clip_length) // self.hop + 1 for flow in flows])
        return Recognition(self.head(trials.transpose(1, 2)).transpose(1, 2), valid, flow=None)

    def describe(self, flows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Grid flow (T-1, 2, h, w) of each clip -> features (windows, C) and regions (windows, C, V) of all."""
        windows = flow_target(flows, self.clip_length, self.hop).flatten(1, 2)  # (windows, 2 pairs, h, w)
        last = self.motion(windows).flatten(2)
        return last.mean(2), last @ self.region_pool
