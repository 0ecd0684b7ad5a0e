"""The flow stream of TSN (Wang et al., 2016): a ResNet-50 over five stacked flow images -> one 2048-d motion feature.

The teacher of the published IMFE. Names are those of mmaction2 checkpoints (``backbone.layer1.0.conv1.conv.weight``),
so that ``tsn_r50_320p_1x1x8_150e_activitynet_*_flow`` loads as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from trainer import checkpoint as checkpoints
from trainer.nets.imfe import EXPANSION
from trainer.nets.state_dict import load_state

FLOW_IMAGES = 5
SIZE = 224  # pixels
RESNET_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # (blocks, width)
UNUSED_PREFIXES = ("cls_head",)


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class Block(nn.Module):
    """ResNet-50's bottleneck."""

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = EXPANSION * width
        self.conv1 = ConvNorm(c_in, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride)
        self.conv3 = ConvNorm(width, c_out, 1)
        self.downsample = ConvNorm(c_in, c_out, 1, stride) if stride != 1 or c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        return F.relu(self.downsample(x) + self.conv3(y))


class ResNet50(nn.Module):
    """(B, 10, 224, 224) -> the last map (B, 2048, 7, 7)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c_in, 64, 7, 2)
        c = 64
        for number, (blocks, width) in enumerate(RESNET_STAGES, start=1):
            stage = [Block(c, width, stride=1 if number == 1 else 2)]
            c = EXPANSION * width
            stage += [Block(c, width, stride=1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2, padding=1)
        for number in range(1, len(RESNET_STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x


class FlowTsn(nn.Module):
    """uint8 flow images (B, 10, 224, 224) in the order x1 y1 x2 y2 ..., 128 where nothing moves -> (B, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet50(2 * FLOW_IMAGES)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.backbone((images.float() - 128) / 128).mean((2, 3))
        return out


def load_tsn(path: Path) -> FlowTsn:
    """The network of a checkpoint of mmaction2, in eval mode.

    Raises:
        InputError: not a checkpoint, of another network, or of RGB pictures.
    """
    net = FlowTsn()
    counters = tuple(name for name in net.state_dict() if name.endswith("num_batches_tracked"))
    load_state(net, checkpoints.load(path), "state_dict", str(path), UNUSED_PREFIXES, optional=counters)
    return net.eval()
