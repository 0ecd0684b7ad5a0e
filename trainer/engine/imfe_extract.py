"""Features of whole videos, in the published layout: one ``.npy`` a video, one row a clip of six frames.

Each video is one unit of work: a file appears under its name only when whole, one that is there is not made again, and
the processes of ``torchrun`` share the videos, so that nothing is lost or done twice.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.streams import ImfeStream
from trainer.data.clips import UInt8Array
from trainer.data.rawframes import CLIP_LENGTH, RawVideo, clip_indices, read_frames

log = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]
PIXELS_AT_ONCE = 256 * 344  # a base frame keeps a core's encoder busy


Describe = Callable[[RawVideo], tuple[Features, Features]]
"""A video -> features (n, D) and regions (n, D, V) of its clips."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """``compute``: uint8 clips (n, 6, H, W, 3) of one video, in order -> features (n, D), regions (n, D, V)."""

    height: int
    width: int
    compute: Callable[[UInt8Array], tuple[Features, Features]]

    def __call__(self, video: RawVideo) -> tuple[Features, Features]:
        """Read the clips' frames, then compute."""
        indices = clip_indices(video.count)
        frames = read_frames(video, indices.ravel().tolist(), self.height, self.width)
        return self.compute(frames.reshape(*indices.shape, *frames.shape[1:]))


def torch_extractor(checkpoint: Path, device: str) -> Extractor:
    """With a checkpoint, published or ours, on ``device``.

    BatchNorm is folded away and maps lie channels last: 1.9 times the clips a second of the published network on a CPU
    (``python -m benchmarks.extraction``). There large frames are encoded one by one: a batch of them is no faster and
    only takes memory.
    """
    import torch

    from trainer.nets.folding import fold_norms
    from trainer.nets.imfe import load_imfe

    net = load_imfe(checkpoint)
    fold_norms(net)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    clips_at_once, frames_at_once = 16, 16 * CLIP_LENGTH
    if device == "cpu":
        clips_at_once, frames_at_once = 1, max(1, PIXELS_AT_ONCE // (net.config.height * net.config.width))

    @torch.inference_mode()
    def compute(clips: UInt8Array) -> tuple[Features, Features]:
        found = []
        for part in torch.split(torch.from_numpy(clips), clips_at_once):
            frames = net.normalise(part.to(device))  # (clips, 6, 3, H, W)
            fmaps = torch.cat([net.encode(each) for each in torch.split(frames.flatten(0, 1), frames_at_once)])
            fmaps = fmaps.view(len(part), CLIP_LENGTH, *fmaps.shape[1:])
            pairs = net.pair(fmaps[:, :-1].flatten(0, 1), fmaps[:, 1:].flatten(0, 1))
            appearance = net.appear(frames[:, net.config.central])
            found.append(net.head(pairs.reshape(len(part), -1, *pairs.shape[2:]), appearance))
        features, regions = (torch.cat(list(part)).cpu().numpy() for part in zip(*found, strict=True))
        return features, regions

    return Extractor(net.config.height, net.config.width, compute)


def onnx_extractor(model: Path, threads: int) -> Extractor:
    """With an exported ``imfe.onnx``: no torch."""
    stream = ImfeStream(model, hop=CLIP_LENGTH, threads=threads)
    if stream.metadata.clip_length != CLIP_LENGTH:
        raise InputError(f"{model}: clips of {stream.metadata.clip_length} frames, the published layout has 6")

    def compute(clips: UInt8Array) -> tuple[Features, Features]:
        stream.reset()
        outputs = [out for frame in clips.reshape(-1, *clips.shape[2:]) if (out := stream.step(frame)) is not None]
        return np.stack([out.features for out in outputs]), np.stack([out.regions for out in outputs])

    return Extractor(stream.metadata.height, stream.metadata.width, compute)


def extract(videos: Sequence[RawVideo], out: Path, describe: Describe, regions: bool) -> dict[str, float]:
    """Write ``out/NAME.npy`` (and ``NAME.regions.npy``) of every video that has none yet.

    Returns:
        Counts ``made``, ``there`` (already), ``unreadable``, and ``clips_per_s``.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = there = unreadable = clips = 0
    started = time.monotonic()
    for video in videos:
        wanted = [out / f"{video.name}.npy"] + ([out / f"{video.name}.regions.npy"] if regions else [])
        if all(file.is_file() for file in wanted):
            there += 1
            continue
        try:
            described = describe(video)
        except InputError as error:
            log.warning("left out: %s", error)
            unreadable += 1
            continue
        for file, values in zip(wanted, described, strict=False):
            _write(file, values)
        made += 1
        clips += video.clips
    seconds = max(time.monotonic() - started, 1e-9)
    return {"made": made, "there": there, "unreadable": unreadable, "clips_per_s": clips / seconds}


def _write(path: Path, values: Features) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, values)
    partial.replace(path)
