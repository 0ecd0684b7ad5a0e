"""Optical flow: by OpenCV over the cells of a feature map, or as pictures, computed or given, for a TSN.

TV-L1, which the published recipe has, is part of opencv-contrib; without it DIS takes its place.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from trainer.data.clips import UInt8Array
from trainer.data.rawframes import RawVideo, clip_indices, read_frames

CELL = 8  # pixels: IMFE's maps are an eighth of the picture
BOUND = 20.0  # pixels a frame: what the ends of a flow picture's 0 ... 255 mean (mmaction2, denseflow)


class DenseFlow:
    """Flow between two grey pictures of one size; keeps the method's buffers between calls."""

    def __init__(self, method: cv2.DenseOpticalFlow | None = None) -> None:
        self._method = method or cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def __call__(self, earlier: UInt8Array, later: UInt8Array) -> npt.NDArray[np.float32]:
        """uint8 (H, W) twice -> float32 (H, W, 2), x and y in pixels, from the earlier to the later picture."""
        flow = np.zeros((*earlier.shape, 2), np.float32)
        self._method.calc(earlier, later, flow)
        return flow


def grid_flow(frames: UInt8Array) -> npt.NDArray[np.float32]:
    """Flow of adjacent frames, uint8 RGB (T, H, W, 3) -> float32 (T-1, 2, H/8, W/8) in cells.

    The mean over a cell of what moved to the *later* frame's cell: computed backwards, from later to earlier, and
    negated, since IMFE's pair features live on the later frame's grid.
    """
    dense = DenseFlow()
    gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
    T, H, W = frames.shape[:3]
    out = np.empty((T - 1, 2, H // CELL, W // CELL), np.float32)
    for t in range(1, T):
        backward = dense(gray[t], gray[t - 1])
        cells = cv2.resize(backward, (W // CELL, H // CELL), interpolation=cv2.INTER_AREA)
        out[t - 1] = -cells.transpose(2, 0, 1) / CELL
    return out


def flow_pictures(video: RawVideo, size: int) -> UInt8Array:
    """The flow of every clip's adjacent frames as pictures.

    Pictures ``x_00001.jpg``, ``y_00001.jpg`` beside a folder's frames are taken as they are; picture i is the flow from
    frame i to the next one, and the last one stands for what is missing after it. Without any they are computed. The
    middle of the picture, its shorter side stretched to ``size * 8 / 7``, as mmaction2 tests.

    Returns:
        uint8 (clips, 10, size, size) in the order x1 y1 x2 y2 ...; 128 is still.

    Raises:
        InputError: a picture that cannot be read, or x without y.
    """
    given = _given(video)
    starts = clip_indices(video.count)[:, :-1]
    if given:
        wanted = {i: middle(_read(given[i]), size) for i in np.unique(starts.clip(max=len(given) - 1)).tolist()}
        last = len(given) - 1
    else:
        flow = DenseFlow(_published_method())
        frames = read_frames(video, range(video.count), *_working_size(video, size))
        gray = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
        used = set(starts.ravel().tolist())
        wanted = {i: middle(as_picture(flow(a, b)), size) for i, (a, b) in enumerate(pairwise(gray)) if i in used}
        last = len(gray) - 2
    return np.stack([np.concatenate([wanted[min(i, last)] for i in clip]) for clip in starts.tolist()])


def _published_method() -> cv2.DenseOpticalFlow:
    """TV-L1 where this OpenCV has it, else DIS."""
    if hasattr(cv2, "optflow"):
        method: cv2.DenseOpticalFlow = cv2.optflow.DualTVL1OpticalFlow_create()
        return method
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _given(video: RawVideo) -> list[tuple[Path, Path]]:
    """Flow pictures (x, y) beside a video's frames, in their order."""
    if len(video.frames) < 2:
        return []
    folder = video.frames[0].parent
    x, y = (sorted(folder.glob(f"{axis}_*.jpg")) for axis in "xy")
    if [path.name[1:] for path in x] != [path.name[1:] for path in y]:
        raise InputError(f"{folder}: {len(x)} flow pictures x_*.jpg and {len(y)} y_*.jpg; expected the same numbers")
    return list(zip(x, y, strict=True))


def _read(paths: tuple[Path, Path]) -> UInt8Array:
    """Both axes (2, h, w)."""
    axes = []
    for path in paths:
        axis = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if axis is None:
            raise InputError(f"{path}: not a readable picture")
        axes.append(np.asarray(axis, np.uint8))
    if axes[0].shape != axes[1].shape:
        raise InputError(f"{paths[0]} is {axes[0].shape}, {paths[1]} {axes[1].shape}; expected one size")
    return np.stack(axes)


def as_picture(flow: npt.NDArray[np.float32]) -> UInt8Array:
    """Flow (h, w, 2) in pixels -> uint8 (2, h, w), 128 where nothing moves."""
    scaled = (flow.transpose(2, 0, 1) + BOUND) * (255 / (2 * BOUND))
    return np.asarray(np.rint(scaled).clip(0, 255), np.uint8)


def _working_size(video: RawVideo, size: int) -> tuple[int, int]:
    """Height and width at which flow is computed: of the video's shape, the shorter side as it will be looked at."""
    capture = cv2.VideoCapture(str(video.frames[0]))
    _, picture = capture.read()
    capture.release()
    if picture is None:
        raise InputError(f"{video.frames[0]}: not a readable picture or video")
    return _stretched(picture.shape[0], picture.shape[1], size)


def _stretched(height: int, width: int, size: int) -> tuple[int, int]:
    scale = size * 8 / 7 / min(height, width)
    return round(height * scale), round(width * scale)


def middle(picture: UInt8Array, size: int) -> UInt8Array:
    """The middle of a flow picture, its shorter side stretched to ``size * 8 / 7``: (2, h, w) -> (2, size, size)."""
    height, width = _stretched(picture.shape[1], picture.shape[2], size)
    top, left = (height - size) // 2, (width - size) // 2
    resized = [cv2.resize(axis, (width, height), interpolation=cv2.INTER_LINEAR) for axis in picture]
    return np.stack(resized)[:, top : top + size, left : left + size].astype(np.uint8)
