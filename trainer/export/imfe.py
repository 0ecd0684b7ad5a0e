"""Imfe -> ``imfe.onnx``, the step graph of docs/architecture.md: encoder, motion, head, to be cut apart.

A network with an RGB stream has a fourth stage, which looks at a clip's central frame.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata, Provenance, Stage
from edge_runtime.streams import ImfeStream
from trainer.export.builder import GraphBuilder
from trainer.export.write import relative_error, write_model
from trainer.nets.imfe import Bottleneck, FeatureEncoder, Imfe, ImfeConfig, ResidualBlock, ResidualHead

CUTS = {
    "encoder": Stage(("frame",), ("fmap",)),
    "motion": Stage(("previous_fmap", "fmap"), ("pair",)),
    "head": Stage(("pairs",), ("features", "regions")),
}
WITH_APPEARANCE = CUTS | {
    "appearance": Stage(("central_frame",), ("appearance",)),
    "head": Stage(("pairs", "appearance"), ("features", "regions")),
}
PARITY_CLIPS = 3  # receptive fields compared with torch before a file is written


def export_imfe(model: Imfe, out: str | Path, name: str | None = None, provenance: Provenance | None = None) -> float:
    """Write the step graph of ``model`` (its eval form) after comparing it with torch.

    Args:
        out: file to write.
        name: what the model calls itself; the configuration's name when None.

    Returns:
        The relative error against torch.

    Raises:
        ParityError: graph and network disagree; no file is left.
        InputError: ``out`` cannot be written.
    """
    model.eval()
    return write_model(
        build_graph(model), build_metadata(model.config, name, provenance), out, lambda file: _parity(model, file)
    )


def build_metadata(config: ImfeConfig, name: str | None = None, provenance: Provenance | None = None) -> ImfeMetadata:
    """What the file says about itself. Hops are the divisors of the clip length, the clip length first."""
    clip = config.clip_length
    return ImfeMetadata(
        kind="imfe",
        height=config.height,
        width=config.width,
        fps=config.fps,
        clip_length=clip,
        hops=tuple(hop for hop in range(clip, 0, -1) if clip % hop == 0),
        feature_dim=config.feature_dim,
        region_grid=config.region_grid,
        stages=WITH_APPEARANCE if config.appearance else CUTS,
        mean=config.mean,
        std=config.std,
        name=name or f"imfe-{config.name}",
        provenance=provenance or Provenance(),
    )


def build_graph(model: Imfe) -> onnx.ModelProto:
    """The whole step as one graph, every BatchNorm folded into the convolution before it."""
    config = model.config
    h, w = config.map_size
    C, P, clip = config.fmap_channels, config.pair_channels, config.clip_length
    g = ImfeGraph()

    frame = g.input("frame", (1, config.height, config.width, 3), TensorProto.UINT8)
    fmap = g.encoder(model, frame)
    g.output(fmap, (1, C, h, w))

    previous = g.input("previous_fmap", (1, C, h, w))
    pair = g.motion(model, previous, fmap)
    g.output(pair, (1, P, h, w))

    earlier = g.input("previous_pairs", (1, (clip - 2) * P, h, w))
    pairs = g.op("Concat", (earlier, pair), "pairs", axis=1)
    appearance = ""
    if config.appearance:
        central = g.input("central_frame", (1, config.height, config.width, 3), TensorProto.UINT8)
        appearance = g.appearance(model, g.pixels(config, central, "appearance"), np.array(config.std))
    features, regions = g.head(model, pairs, appearance)
    g.output(features, (1, config.feature_dim))
    g.output(regions, (1, config.feature_dim, config.num_regions))
    return g.model("imfe")


class ImfeGraph(GraphBuilder):
    """The stages, in the order and with the names of ``trainer.nets.imfe``."""

    def encoder(self, model: Imfe, frame: str) -> str:
        """uint8 frame (1, H, W, 3) -> ``fmap``."""
        x = self.pixels(model.config, frame, "encoder")
        return self.encode(model.feature_encoder, x, np.array(model.config.std), "fmap")

    def pixels(self, config: ImfeConfig, frame: str, name: str) -> str:
        """uint8 frame (1, H, W, 3) -> less the mean (1, 3, H, W)."""
        # (frame - mean) / std without a pass of its own for std, which goes into the first weights; the mean cannot,
        # because the convolution pads with zeros *after* normalisation
        # turned while it is bytes: 0.26 ms for the published size, and 1.5 ms when the mean goes along its last axis
        x = self.op("Transpose", (frame,), f"{name}.nchw", perm=(0, 3, 1, 2))
        x = self.op("Cast", (x,), f"{name}.float", to=TensorProto.FLOAT)
        mean = np.array(config.mean).reshape(1, 3, 1, 1)
        return self.op("Sub", (x, self.weight(f"{name}.mean", mean)), f"{name}.centred")

    def appearance(self, model: Imfe, x: str, std: NDArray[np.float64]) -> str:
        """A central frame (1, 3, H, W), which the first weights divide by ``std`` -> ``appearance``."""
        assert model.appearance is not None
        encoder, head = (cast(FeatureEncoder, model.appearance[0]), cast(ResidualHead, model.appearance[1]))
        x = self.encode(encoder, x, std, "appearance.fmap", "appearance.encoder")
        return self.residual_head(head, x, "appearance.head", "appearance")

    def encode(self, net: FeatureEncoder, x: str, std: NDArray[np.float64], output: str, name: str = "encoder") -> str:
        """(B, 3, H, W), which the first weights divide by ``std`` (3,) -> (B, C, h, w)."""
        stem = net.convnormrelu
        weight, bias = _folded(cast(nn.Conv2d, stem[0]), cast(nn.BatchNorm2d, stem[1]))
        weight = weight / std.reshape(1, 3, 1, 1)
        x = self._convolve(x, weight, bias, cast(nn.Conv2d, stem[0]), f"{name}.stem", relu=True)
        for stage in ("layer1", "layer2", "layer3"):
            for i, block in enumerate(cast(nn.Sequential, getattr(net, stage))):
                x = self._residual_block(x, cast(ResidualBlock, block), f"{name}.{stage}.{i}")
        return self._conv(x, net.conv, None, f"{name}.conv", output=output)

    def motion(self, model: Imfe, previous: str, fmap: str, mark: str = "") -> str:
        """``Imfe.pair``: the earlier frame becomes the kernel with which the later one is convolved.

        Args:
            mark: ends the names of this pair's tensors; all pairs share their weights.
        """
        config = model.config
        (h, w), C, P = config.map_size, config.fmap_channels, config.pair_channels
        # (h*w, P*9), with 1/sqrt(C) inside: a constant second factor, which onnxruntime packs once at load
        gain = np.ones(P) if model.direct_conv is None else _array(model.correlation_gain)
        compress = gain[:, None, None, None] * _array(model.compress_conv.weight) / math.sqrt(C)  # (P, h*w, 3, 3)
        compress = compress.transpose(1, 0, 2, 3).reshape(h * w, P * 9)
        compress_weight = self.weight("motion.compress", compress)
        f1 = self.op("Reshape", (previous, self._shape("motion.positions", C, h * w)), f"motion.previous{mark}")
        k = self.op("MatMul", (f1, compress_weight), f"motion.product{mark}")  # (C, P*9)
        k = self.op("Reshape", (k, self._shape("motion.split", C, P, 9)), f"motion.channels_first{mark}")
        k = self.op("Transpose", (k,), f"motion.channels_second{mark}", perm=(1, 0, 2))
        k = self.op("Reshape", (k, self._shape("motion.kernel_shape", P, C, 3, 3)), f"motion.kernel{mark}")
        assert model.compress_conv.bias is not None
        bias = self.weight("motion.bias", gain * _array(model.compress_conv.bias))
        as_convolution = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
        if model.direct_conv is None:
            return self.op("Conv", (fmap, k, bias), f"pair{mark}", **as_convolution)
        correlation = self.op("Conv", (fmap, k, bias), f"motion.correlation{mark}", **as_convolution)
        difference = self.op("Sub", (fmap, previous), f"motion.moved{mark}")
        moved = self._conv(difference, model.direct_conv, None, "motion.direct", output=f"motion.direct{mark}")
        return self.op("Add", (correlation, moved), f"pair{mark}")

    def head(self, model: Imfe, pairs: str, appearance: str = "") -> tuple[str, str]:
        """A clip's pairs, and with an RGB stream what that gave, -> ``features``, ``regions``."""
        x = pairs
        motion = model.motion_encoder
        for name, part in (("corr1", motion.convcorr1), ("corr2", motion.convcorr2), ("conv", motion.conv)):
            x = self._conv(x, cast(nn.Conv2d, part[0]), None, f"head.{name}", relu=True)
        x = self.residual_head(model.resnet, self._conv(x, model.mid_conv, None, "head.mid"), "head")
        if appearance:
            x = self.op("Concat", (x, appearance), "head.both", axis=1)
        config = model.config
        h, w = config.last_map_size
        x = self.op("Reshape", (x, self._shape("head.flat_shape", 1, config.feature_dim, h * w)), "head.flat")
        features = self.op("ReduceMean", (x,), "features", axes=(2,), keepdims=0)
        regions = self.op("MatMul", (x, self.weight("head.region_pool", _array(model.region_pool))), "regions")
        return features, regions

    def residual_head(self, net: ResidualHead, x: str, name: str, output: str = "") -> str:
        """(1, C, h, w) -> the last map (1, D, h', w')."""
        blocks = [(f"{name}.{s}.{i}", b) for s in ("layer3", "layer4") for i, b in enumerate(getattr(net, s))]
        for place, block in blocks:
            x = self._bottleneck(x, block, place, output if block is blocks[-1][1] else "")
        return x

    def _residual_block(self, x: str, block: ResidualBlock, name: str) -> str:
        y = self._conv(x, *_conv_norm(block.convnormrelu1), f"{name}.conv1", relu=True)
        y = self._conv(y, *_conv_norm(block.convnormrelu2), f"{name}.conv2", relu=True)
        if isinstance(block.downsample, nn.Sequential):
            x = self._conv(x, *_conv_norm(block.downsample), f"{name}.downsample")
        return self._add_relu(x, y, name)

    def _bottleneck(self, x: str, block: Bottleneck, name: str, output: str = "") -> str:
        y = self._conv(x, block.conv1, block.bn1, f"{name}.conv1", relu=True)
        y = self._conv(y, block.conv2, block.bn2, f"{name}.conv2", relu=True)
        y = self._conv(y, block.conv3, block.bn3, f"{name}.conv3")
        if isinstance(block.downsample, nn.Sequential):
            x = self._conv(x, *_conv_norm(block.downsample), f"{name}.downsample")
        return self._add_relu(x, y, name, output)

    def _add_relu(self, x: str, y: str, name: str, output: str = "") -> str:
        return self.op("Relu", (self.op("Add", (x, y), f"{name}.sum"),), output or f"{name}.relu")

    def _conv(
        self, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, name: str, relu: bool = False, output: str = ""
    ) -> str:
        weight, bias = _folded(conv, norm)
        return self._convolve(x, weight, bias, conv, name, relu, output)

    def _convolve(
        self,
        x: str,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64],
        conv: nn.Conv2d,
        name: str,
        relu: bool = False,
        output: str = "",
    ) -> str:
        """A convolution with the geometry of ``conv``, and ReLU after it if asked."""
        pad = cast(tuple[int, int], conv.padding)
        weights = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        y = self.op(
            "Conv", (x, *weights), output or name, kernel_shape=conv.kernel_size, strides=conv.stride, pads=(*pad, *pad)
        )
        return self.op("Relu", (y,), f"{name}.relu") if relu else y

    def _shape(self, name: str, *dims: int) -> str:
        return self.weight(name, np.array(dims, np.int64))


def _conv_norm(part: nn.Sequential) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return cast(nn.Conv2d, part[0]), cast(nn.BatchNorm2d, part[1])


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of a convolution with the BatchNorm after it (in eval mode) taken in."""
    weight = _array(conv.weight)
    bias = _array(conv.bias) if conv.bias is not None else np.zeros(len(weight))
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None and norm.running_var is not None
    gain = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return weight * gain.reshape(-1, 1, 1, 1), (bias - _array(norm.running_mean)) * gain + _array(norm.bias)


def _array(value: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = value.detach().double().cpu().numpy()
    return array


def _parity(model: Imfe, file: ModelFile) -> float:
    """Stream noise frames at the smallest and at the largest hop; relative error against ``Imfe.along``."""
    config = model.config
    clip = config.clip_length
    frames = np.random.default_rng(0).integers(
        0, 256, (PARITY_CLIPS * clip, config.height, config.width, 3), dtype=np.uint8
    )
    with torch.inference_mode():
        expected = model.along(model.normalise(torch.from_numpy(frames))[None], hop=1)
    worst = 0.0
    for hop in (1, clip):
        with ImfeStream(file, hop=hop) as stream:
            found = [out for frame in frames if (out := stream.step(frame)) is not None]
        for values, wanted in zip(([f.features for f in found], [f.regions for f in found]), expected, strict=True):
            worst = max(worst, relative_error(np.stack(values), wanted[0, ::hop].numpy()))
    return worst
