"""Scenes whose optical flow is known exactly: pieces of real pictures gliding and turning over another one.

A network learns what motion looks like from these far faster than from real video, where most cells stand still and the
flow must itself be estimated (the idea of FlyingChairs, Dosovitskiy et al., 2015). Any pictures do; no labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.clips import UInt8Array
from trainer.data.flow import CELL

FloatArray = npt.NDArray[np.float64]

MAX_LAYERS = 7
SLOWEST, FASTEST = 0.15, 8.0  # pixels a frame, drawn log-uniformly
STILL_CAMERA = 0.6  # probability


def moving_layers(
    pictures: Sequence[UInt8Array], frames: int, height: int, width: int, rng: np.random.Generator
) -> tuple[UInt8Array, npt.NDArray[np.float32]]:
    """One scene: uint8 RGB (frames, H, W, 3) and its flow (frames-1, 2, H/8, W/8) in cells, as ``grid_flow`` has it."""
    video = np.empty((frames, height, width, 3), np.uint8)
    flow = np.zeros((frames, height, width, 2), np.float32)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)  # (H, W, 2) x, y

    still = rng.random() < STILL_CAMERA
    camera = _path(frames, np.array([width, height]) / 2, 0.0 if still else _speed(rng) / 2, 0.0, rng)
    picture = pictures[rng.integers(len(pictures))]
    zoom = rng.uniform(1.0, 2.0) * max(height / picture.shape[0], width / picture.shape[1])
    flip = 1 if rng.random() < 0.5 else -1
    _draw(video, flow, pixels, picture, None, camera, zoom, flip)
    for _ in range(rng.integers(1, MAX_LAYERS + 1)):
        picture = pictures[rng.integers(len(pictures))]
        start = rng.uniform(0, 1, 2) * [width, height]
        turn = rng.normal(0, 0.06) if rng.random() < 0.6 else 0.0
        path = _path(frames, start, _speed(rng), turn, rng)
        path[:, 1:] += camera[:, 1:] - camera[0, 1:]
        zoom = rng.uniform(0.5, 1.5) * height / picture.shape[0]
        _draw(video, flow, pixels, picture, _blob(picture.shape[:2], zoom, height, rng), path, zoom, 1)
    cells = [cv2.resize(f, (width // CELL, height // CELL), interpolation=cv2.INTER_AREA) for f in flow[1:]]
    return video, np.stack(cells).transpose(0, 3, 1, 2) / CELL


def _speed(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))


def _path(frames: int, start: FloatArray, speed: float, turn: float, rng: np.random.Generator) -> FloatArray:
    """Angle and centre (frames, 3) of a thing that glides and turns, a little faster or slower from frame to frame."""
    direction = rng.uniform(0, 2 * np.pi)
    pace = np.concatenate([[0], np.cumsum(rng.uniform(0.6, 1.4, frames - 1))])
    curve = direction + rng.normal(0, 0.1) * np.arange(frames)
    offset = speed * np.stack([np.cos(curve), np.sin(curve)], 1) * pace[:, None]
    angle = rng.uniform(-0.5, 0.5) + turn * pace
    return np.column_stack([angle, start + offset])


def _blob(size: tuple[int, int], zoom: float, height: int, rng: np.random.Generator) -> UInt8Array:
    """Mask of a limb- or body-like piece around a picture's centre, so large that it shows as 6 pixels to half of H."""
    h, w = size
    mask = np.zeros(size, np.uint8)
    length = np.exp(rng.uniform(np.log(6), np.log(height / 2))) / zoom
    breadth = max(length * rng.uniform(0.2, 1.0), 4 / zoom)
    axes = (int(min(length / 2, h / 2.2)) + 1, int(min(breadth / 2, h / 2.2)) + 1)
    angle = float(rng.uniform(0, 180))
    cv2.ellipse(mask, (w // 2, h // 2), axes, angle, 0, 360, 255, -1)
    return mask


def _draw(
    video: UInt8Array,
    flow: npt.NDArray[np.float32],
    pixels: npt.NDArray[np.float32],
    picture: UInt8Array,
    mask: UInt8Array | None,
    path: FloatArray,
    zoom: float,
    flip: int,
) -> None:
    """Put ``picture`` (where ``mask``) into every frame along ``path``, and where it shows, its flow."""
    frames, height, width = video.shape[:3]
    centre = np.array([picture.shape[1], picture.shape[0]]) / 2
    before: FloatArray | None = None
    for t in range(frames):
        angle, x, y = path[t]
        cos, sin = np.cos(angle if mask is not None else 0.0), np.sin(angle if mask is not None else 0.0)
        linear = zoom * np.array([[cos, -sin], [sin, cos]]) @ np.diag([flip, 1])
        matrix = np.hstack([linear, ([x, y] - linear @ centre)[:, None]])  # picture -> frame
        warped = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if mask is None:
            shown: npt.NDArray[np.bool_] = np.ones((height, width), bool)
        else:
            shown = cv2.warpAffine(mask, matrix, (width, height)) > 127
        video[t][shown] = warped[shown]
        if before is not None:
            back = _compose(before, matrix)  # frame t -> frame t-1
            flow[t][shown] = pixels[shown] - (pixels[shown] @ back[:, :2].T + back[:, 2])
        before = matrix


def _compose(first: FloatArray, second: FloatArray) -> FloatArray:
    """``first`` after the inverse of ``second``, affine 2 x 3 matrices."""
    inverse = np.linalg.inv(second[:, :2])
    linear = first[:, :2] @ inverse
    return np.hstack([linear, (first[:, 2] - linear @ second[:, 2])[:, None]])
