"""The frames that an IMFE is calibrated and checked on: real ones, as the network will see them, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Fault
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sampling import FrameSampler, Rate
from edge_runtime.sources.base import Source, UnreadableFrameError
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.open import connect_camera
from edge_runtime.sources.supervised import SupervisedSource
from edge_runtime.sources.video import VideoSource

Frames = npt.NDArray[np.uint8]
VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".m4v", ".mpg", ".mpeg", ".webm"})


def read_clips(spec: str, model: ImfeMetadata, *, clips: int) -> list[Frames]:
    """Clips of consecutive frames at the model's size and rate, spread over what ``spec`` offers.

    Args:
        spec: a video file; a folder of videos or of pictures; ``camera`` or ``camera:N`` for this device's own camera.
        model: whose size, rate and clip length the frames get.
        clips: how many at most; a camera is read until it has given them.

    Returns:
        clips of uint8 RGB (clip_length, height, width, 3).

    Raises:
        InputError: nothing there that can be read, or less than two clips.
    """
    sources = sources_of(spec, model.fps)
    live = spec == "camera" or spec.startswith("camera:")
    each = -(-clips // len(sources))
    found: list[Frames] = []
    for open_one in sources:
        of_one = _clips_of(open_one, model, limit=each if live else None)
        found += [of_one[i] for i in np.linspace(0, len(of_one) - 1, min(each, len(of_one)), dtype=int)]
    if len(found) < 2:
        raise InputError(
            f"--calibrate {spec}: expected at least two clips of {model.clip_length} frames, found {len(found)}; "
            "give a longer video"
        )
    return found[:clips]


def sources_of(spec: str, model_fps: float) -> list[Callable[[], Source]]:
    """How to open each thing that ``spec`` names."""
    kind, _, number = spec.partition(":")
    if kind == "camera":
        connect = connect_camera(number or "0")
        return [lambda: SupervisedSource(connect)]
    path = Path(spec)
    if path.is_dir():
        videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
        return [partial(VideoSource, video) for video in videos] or [partial(ImagesSource, path, model_fps)]
    return [partial(VideoSource, path)]


def _clips_of(open_source: Callable[[], Source], model: ImfeMetadata, *, limit: int | None) -> list[Frames]:
    with open_source() as source:
        clips: list[Frames] = []
        clip: list[npt.NDArray[np.uint8]] = []
        for frame in _frames(source, model):
            clip.append(frame)
            if len(clip) == model.clip_length:
                clips.append(np.stack(clip))
                clip = []
            if len(clips) == limit:
                break
        return clips


def _frames(source: Source, model: ImfeMetadata) -> Iterator[npt.NDArray[np.uint8]]:
    preprocess = Preprocessor(model.height, model.width)
    sampler = FrameSampler(Rate.matching(model.fps, source.info.fps))
    while True:
        try:
            frame = source.read()
        except UnreadableFrameError:
            continue  # the neighbours are as good for calibration; edge-run is where losses are counted
        if frame is None:
            return
        if not isinstance(frame, Fault) and sampler.step(frame.t).use:
            yield preprocess(frame.data).copy()
