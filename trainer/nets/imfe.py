"""IMFE, the Integrated Motion Feature Extractor (Wang et al., arXiv 2409.05662): six RGB frames -> one motion feature.

::

    frame t ──► encode ──► fmap t ──┐
                                    ├─► pair ──► pair features t ──┐
    frame t-1 ► (fmap t-1, kept) ───┘                              ├─► head ──► features (D), regions (D, V)
                         the clip's earlier pairs (FIFO, kept) ────┘

The three stages are the methods ``encode``, ``pair`` and ``head``; ``forward`` runs them over whole clips for
training. A frame is encoded once and a pair computed once, however clips overlap, so a stream costs one ``encode`` and
one ``pair`` a frame and one ``head`` a hop. docs/networks.md has the mathematics.

Parameter names are the published ones, so that published checkpoints load as they are.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.errors import InputError
from trainer import checkpoint as checkpoints
from trainer.nets.lean_stage import Block, Residual, Stem, lean_stage
from trainer.nets.state_dict import load_state

log = logging.getLogger(__name__)

# Parts of a published checkpoint that its own forward pass never uses: the optical-flow branch of RAFT's motion
# encoder and what a whole ResNet-50 has around layer3 and layer4.
UNUSED_PREFIXES = (
    "motion_encoder.convflow",
    "resnet.conv1",
    "resnet.bn1",
    "resnet.layer1",
    "resnet.layer2",
    "resnet.fc",
)

EXPANSION = 4  # a bottleneck's output channels over its inner width (He et al., 2016)


@dataclass(frozen=True, slots=True)
class ImfeConfig:
    """Geometry and widths. ``base`` is the published network, ``small`` and ``tiny`` shrink it for small devices.

    Height and width are multiples of 8: the encoder works at an eighth of the resolution.
    """

    name: str
    height: int
    width: int
    encoder: tuple[int, int, int]  # channels of the three pairs of residual blocks; the stem has the first
    fmap_channels: int  # C
    pair_channels: int  # P
    motion: tuple[int, int, int]  # 1x1, 3x3, 3x3
    mid_channels: int
    head: tuple[tuple[int, int], tuple[int, int]]  # (blocks, width) of the two bottleneck stages, stride 2 each
    region_grid: tuple[int, int] = (3, 4)  # rows, columns
    clip_length: int = 6
    direct: bool = False  # pair features also see the difference of the two fmaps, see Imfe.pair
    appearance: bool = False  # the RGB stream beside the motion: as many features again, see Imfe.appear
    fps: float = 30.0
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # RGB, 0-255
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self) -> None:
        if self.height % 8 or self.width % 8 or min(self.height, self.width) < 32:
            raise InputError(f"IMFE input {self.height}x{self.width}: expected multiples of 8, at least 32")
        if self.clip_length < 2:
            raise InputError(f"IMFE clip_length {self.clip_length}: expected at least 2, motion needs two frames")

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of ``fmap``."""
        return self.height // 8, self.width // 8

    @property
    def positions(self) -> int:
        """h * w; the input channels of ``compress_conv``, which ties the weights to one input size."""
        return math.prod(self.map_size)

    @property
    def last_map_size(self) -> tuple[int, int]:
        """(h, w) after the head's two strides."""
        h, w = self.map_size
        return -(-h // 4), -(-w // 4)

    @property
    def feature_dim(self) -> int:
        """D: of the motion, and of the appearance after it."""
        return self.head[1][1] * EXPANSION * (2 if self.appearance else 1)

    @property
    def central(self) -> int:
        """Which frame of a clip the RGB stream looks at."""
        return (self.clip_length - 1) // 2

    @property
    def num_regions(self) -> int:
        """V."""
        return math.prod(self.region_grid)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ImfeConfig:
        """The config that ``dataclasses.asdict`` and JSON turned into a dict.

        Raises:
            InputError: an unknown or missing field.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := sorted(raw.keys() - known):
            raise InputError(f"IMFE config: unknown field {unknown[0]!r}; the fields are {', '.join(sorted(known))}")
        try:
            return cls(**{key: _tuples(value) for key, value in raw.items()})
        except TypeError as error:
            raise InputError(f"IMFE config: {error}") from error


def read_config(name: str) -> ImfeConfig:
    """A named configuration, or one from a JSON file with the fields of :class:`ImfeConfig`.

    Raises:
        InputError: neither a name nor a readable file.
    """
    if name in CONFIGS:
        return CONFIGS[name]
    try:
        raw = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"IMFE config {name!r}: expected {', '.join(CONFIGS)} or a JSON file ({error.strerror})"
        ) from error
    except ValueError as error:
        raise InputError(f"IMFE config {name} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"IMFE config {name}: expected an object, found {type(raw).__name__}")
    return ImfeConfig.from_dict(raw)


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at any depth."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


CONFIGS = {
    config.name: config
    for config in (
        # 25.6 M parameters; GMAC: 6.0 a frame, 0.8 a pair, 5.3 a head
        ImfeConfig("base", 256, 344, (64, 96, 128), 256, 128, (256, 192, 128), 512, ((6, 256), (3, 512))),
        # a tenth of base a frame; the last map (6, 8) divides evenly into 3 x 4 regions
        ImfeConfig("small", 192, 256, (24, 48, 64), 128, 64, (192, 128, 96), 192, ((3, 64), (2, 128)), direct=True),
        # a hundredth of base a frame; the last map is the 3 x 4 region grid itself
        ImfeConfig("tiny", 96, 128, (16, 24, 32), 64, 32, (128, 96, 64), 128, ((2, 48), (2, 64)), direct=True),
    )
}


def _conv_norm_relu(c_in: int, c_out: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution with bias, BatchNorm, ReLU, as RAFT's encoder has them."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
    norm = nn.BatchNorm2d(c_out)
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True)) if relu else nn.Sequential(conv, norm)


class ResidualBlock(nn.Module):
    """RAFT's residual block: ``relu(skip(x) + f(x))`` where ``f`` ends in a ReLU of its own."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.convnormrelu1 = _conv_norm_relu(c_in, c_out, 3, stride)
        self.convnormrelu2 = _conv_norm_relu(c_out, c_out, 3)
        self.downsample = nn.Identity() if stride == 1 else _conv_norm_relu(c_in, c_out, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.convnormrelu2(self.convnormrelu1(x)))

    def lean(self) -> Residual:
        """The block as a :func:`lean_stage` takes it."""
        skip = self.downsample if isinstance(self.downsample, nn.Sequential) else None
        return Residual(self.convnormrelu1, self.convnormrelu2, skip)


class FeatureEncoder(nn.Module):
    """RAFT's feature encoder: (B, 3, H, W) -> (B, C, H/8, W/8)."""

    def __init__(self, widths: tuple[int, int, int], c_out: int) -> None:
        super().__init__()
        c1, c2, c3 = widths
        self.convnormrelu = _conv_norm_relu(3, c1, 7, 2)
        self.layer1 = nn.Sequential(ResidualBlock(c1, c1, 1), ResidualBlock(c1, c1, 1))
        self.layer2 = nn.Sequential(ResidualBlock(c1, c2, 2), ResidualBlock(c2, c2, 1))
        self.layer3 = nn.Sequential(ResidualBlock(c2, c3, 2), ResidualBlock(c3, c3, 1))
        self.conv = nn.Conv2d(c3, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        lean = self.training and torch.is_grad_enabled()
        out: Tensor = self.conv(self._train(x) if lean else self.stages(x))
        return out

    def stages(self, x: Tensor) -> Tensor:
        """All but the last convolution."""
        out: Tensor = self.layer3(self.layer2(self.layer1(self.convnormrelu(x))))
        return out

    def _train(self, x: Tensor) -> Tensor:
        """The same, in a way that keeps half as much for the backward pass."""
        first: Block = Stem(self.convnormrelu)
        for stage in [first, *_lean(self.layer1)], _lean(self.layer2), _lean(self.layer3):
            x = lean_stage(stage, x)
        return x


def _lean(layer: nn.Sequential) -> list[Block]:
    """Residual blocks as a :func:`lean_stage` takes them."""
    return [block.lean() for block in layer if isinstance(block, ResidualBlock)]


class MotionEncoder(nn.Module):
    """All pairs of a clip together: 1x1, 3x3, 3x3, each with ReLU."""

    def __init__(self, c_in: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        c1, c2, c3 = widths
        self.convcorr1 = nn.Sequential(nn.Conv2d(c_in, c1, 1), nn.ReLU(inplace=True))
        self.convcorr2 = nn.Sequential(nn.Conv2d(c1, c2, 3, padding=1), nn.ReLU(inplace=True))
        self.conv = nn.Sequential(nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.convcorr2(self.convcorr1(x)))
        return out


class Bottleneck(nn.Module):
    """ResNet-50's block: 1x1, 3x3 (with the stride), 1x1 to ``EXPANSION * width`` channels."""

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = EXPANSION * width
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class ResidualHead(nn.Module):
    """The last two stages of a ResNet, named as in ResNet-50."""

    def __init__(self, c_in: int, stages: tuple[tuple[int, int], tuple[int, int]]) -> None:
        super().__init__()
        (blocks3, width3), (blocks4, width4) = stages
        self.layer3 = self._stage(c_in, width3, blocks3)
        self.layer4 = self._stage(EXPANSION * width3, width4, blocks4)

    @staticmethod
    def _stage(c_in: int, width: int, blocks: int) -> nn.Sequential:
        first = Bottleneck(c_in, width, stride=2)
        return nn.Sequential(first, *(Bottleneck(EXPANSION * width, width, stride=1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer4(self.layer3(x))
        return out


def appearance_net(config: ImfeConfig) -> nn.Sequential:
    """The RGB stream: a residual network of its own, of the widths of the encoder and the head."""
    return nn.Sequential(
        FeatureEncoder(config.encoder, config.fmap_channels), ResidualHead(config.fmap_channels, config.head)
    )


class Imfe(nn.Module):
    """The network. Sizes: C, P, (h, w) = ``config.map_size``, D, V as in :class:`ImfeConfig`."""

    region_pool: Tensor

    def __init__(self, config: ImfeConfig) -> None:
        super().__init__()
        self.config = config
        pairs_channels = (config.clip_length - 1) * config.pair_channels
        self.feature_encoder = FeatureEncoder(config.encoder, config.fmap_channels)
        self.compress_conv = nn.Conv2d(config.positions, config.pair_channels, 3, padding=1)
        self.direct_conv: nn.Conv2d | None = None
        if config.direct:
            self.direct_conv = nn.Conv2d(config.fmap_channels, config.pair_channels, 3, padding=1, bias=False)
            self.correlation_gain = nn.Parameter(torch.zeros(config.pair_channels))
        self.motion_encoder = MotionEncoder(pairs_channels, config.motion)
        self.mid_conv = nn.Conv2d(config.motion[2], config.mid_channels, 1)
        self.resnet = ResidualHead(config.mid_channels, config.head)
        self.appearance: nn.Sequential | None = None
        if config.appearance:
            self.appearance = appearance_net(config)
        self.register_buffer(
            "region_pool", region_pool_matrix(config.last_map_size, config.region_grid), persistent=False
        )

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB (..., H, W, 3) -> float32 (..., 3, H, W) as ``encode`` takes it."""
        mean = torch.tensor(self.config.mean, device=frames.device)
        std = torch.tensor(self.config.std, device=frames.device)
        return ((frames.float() - mean) / std).movedim(-1, -3).contiguous()

    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> fmap (B, C, h, w)."""
        out: Tensor = self.feature_encoder(frames)
        return out

    def pair(self, previous_fmap: Tensor, fmap: Tensor) -> Tensor:
        """Compressed correlation of adjacent frames, twice (B, C, h, w) -> (B, P, h, w).

        Correlation and compression are one product, exactly: ``compress(f1ᵀ f2)`` is linear in ``f2``, so the earlier
        frame makes the 3x3 kernel ``K[o, c] = Σ_p W[o, p] f1[c, p] / √C`` with which the later one is convolved. At
        the base geometry 0.81 GMAC instead of 2.67, and no 1376 x 1376 tensor.

        With ``config.direct`` a convolution of ``f2 - f1`` is added, and the correlation enters through a gain per
        channel that starts at zero. A correlation says *where in the picture* each cell was found again, and what that
        means for motion has to be learnt position by position; the difference is zero where nothing moves, wherever
        that is. On 72 clips (docs/training-imfe.md) the difference learns in two minutes of one core what the
        correlation alone does not learn in ten.
        """
        B, C, h, w = fmap.shape
        P = self.config.pair_channels
        weight = self.compress_conv.weight.permute(1, 0, 2, 3).reshape(h * w, P * 9)  # (h*w, P*9)
        kernel = previous_fmap.flatten(2) @ weight / math.sqrt(C)  # (B, C, P*9)
        kernel = kernel.view(B, C, P, 9).transpose(1, 2).reshape(B * P, C, 3, 3)
        out = F.conv2d(fmap.reshape(1, B * C, h, w), kernel, padding=1, groups=B).view(B, P, h, w)
        assert self.compress_conv.bias is not None
        return self._with_difference(out + self.compress_conv.bias[:, None, None], previous_fmap, fmap)

    def _with_difference(self, correlation: Tensor, previous_fmap: Tensor, fmap: Tensor) -> Tensor:
        """What ``direct`` makes of the compressed correlation (B, P, h, w)."""
        if self.direct_conv is None:
            return correlation
        difference: Tensor = self.direct_conv(fmap - previous_fmap)
        return difference + self.correlation_gain[:, None, None] * correlation

    def pair_naive(self, previous_fmap: Tensor, fmap: Tensor) -> Tensor:
        """What ``pair`` equals, as published: all-pairs correlation, then the convolution over it."""
        B, C, h, w = fmap.shape
        correlation = previous_fmap.flatten(2).transpose(1, 2) @ fmap.flatten(2) / math.sqrt(C)  # (B, h*w, h*w)
        out: Tensor = self.compress_conv(correlation.view(B, h * w, h, w))
        return self._with_difference(out, previous_fmap, fmap)

    def appear(self, central: Tensor) -> Tensor | None:
        """What clips look like: their central frames (B, 3, H, W), normalised -> (B, D/2, h', w').

        The RGB stream of the two-stream pipeline (RT-HARE: a ResNet-50 on the central frame). None for a network
        without one.
        """
        return None if self.appearance is None else self.appearance(central)

    def describe(self, motion: Tensor, appearance: Tensor | None) -> Tensor:
        """The motion encoder's map and what `appear` gave -> the last map (B, D, h'*w')."""
        last: Tensor = self.resnet(self.mid_conv(motion))
        return (last if appearance is None else torch.cat((last, appearance), 1)).flatten(2)

    def head(self, pairs: Tensor, appearance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A clip's pairs, oldest first, (B, (clip-1)*P, h, w) -> features (B, D), regions (B, D, V)."""
        last = self.describe(self.motion_encoder(pairs), appearance)
        return last.mean(2), last @ self.region_pool

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """(B, clip, 3, H, W) normalised -> features (B, D), regions (B, D, V)."""
        features, regions = self.along(clips, hop=self.config.clip_length)
        return features[:, 0], regions[:, 0]

    def along(self, video: Tensor, hop: int) -> tuple[Tensor, Tensor]:
        """Every ``hop``-th clip of a video as a stream gives them, each frame encoded once.

        Args:
            video: (B, T, 3, H, W) normalised, T >= clip length.
            hop: frames from a clip to the next one.

        Returns:
            features (B, n, D), regions (B, n, D, V) with ``n = (T - clip) // hop + 1``.
        """
        clip = self.config.clip_length
        B, T = video.shape[:2]
        n = (T - clip) // hop + 1
        if n < 1:
            raise ValueError(f"expected at least {clip} frames, found {T}")
        fmaps = self.encode(video.flatten(0, 1))
        fmaps = fmaps.view(B, T, *fmaps.shape[1:])  # (B, T, C, h, w)
        pairs = self.pair(fmaps[:, :-1].flatten(0, 1), fmaps[:, 1:].flatten(0, 1))
        pairs = pairs.view(B, T - 1, *pairs.shape[1:])  # (B, T-1, P, h, w)
        clips = [pairs[:, start : start + clip - 1].flatten(1, 2) for start in range(0, n * hop, hop)]
        appearance = self.appear(video[:, self.config.central :: hop][:, :n].flatten(0, 1))
        features, regions = self.head(torch.stack(clips, 1).flatten(0, 1), appearance)
        return features.view(B, n, *features.shape[1:]), regions.view(B, n, *regions.shape[1:])


def region_pool_matrix(map_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Adaptive average pooling as one matrix (h*w, rows*columns): any grid exports as a plain MatMul.

    Region i of n covers rows ``floor(i*h/n)`` up to ``ceil((i+1)*h/n)``, as torch's adaptive pooling does.
    """

    def axis(size: int, bins: int) -> Tensor:
        pool = torch.zeros(size, bins)
        for i in range(bins):
            start, stop = i * size // bins, -(-(i + 1) * size // bins)
            pool[start:stop, i] = 1 / (stop - start)
        return pool

    return torch.kron(axis(map_size[0], grid[0]), axis(map_size[1], grid[1]))


def load_imfe(path: str | Path, config: ImfeConfig | None = None) -> Imfe:
    """An Imfe in eval mode from a checkpoint ``{"model": state dict, "config": ...}``, ours or the published one.

    Args:
        path: checkpoint file.
        config: overrides the checkpoint's; without either the published ``base`` is meant.

    Raises:
        InputError: no such file, not a checkpoint, or names or shapes that do not fit.
    """
    checkpoint = checkpoints.load(Path(path))
    if config is None:
        stored = checkpoint.get("config")
        config = ImfeConfig.from_dict(stored) if isinstance(stored, dict) else CONFIGS["base"]
    model = Imfe(config)
    ignored = load_state(model, checkpoint, "model", str(path), UNUSED_PREFIXES)
    if ignored:
        log.info("%s: left out %d tensors that the network does not use (%s, ...)", path, len(ignored), ignored[0])
    return model.eval()
