"""One clip, seen another way: the same action from a slightly different camera, light, speed and moment.

Every draw holds for the whole clip (a camera does not change its exposure or position from frame to frame), except the
sensor noise. Geometry and timing come first and separately from the light, so that optical flow can be computed on
clean pictures in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.clips import UInt8Array, Video


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of the draws. The defaults were chosen by leave-sequences-out accuracy on UT-Interaction."""

    scale: tuple[float, float] = (0.75, 1.0)  # share of the picture's height and width that is kept
    stretch: float = 0.12  # by how much the two shares may differ: the runtime stretches every picture
    rotation_deg: float = 6.0
    mirror: float = 0.5  # probability
    speed: tuple[float, float] = (0.7, 1.4)
    max_skip: float = 0.2  # share of the clip that may be missing at its start
    gain: float = 0.35  # brightness and contrast, relative
    tint: float = 0.1  # per colour channel, relative
    gray: float = 0.2  # probability of no colour at all
    blur: float = 0.2  # probability
    noise: float = 8.0  # largest standard deviation, grey levels
    erase: float = 0.3  # probability of a still rectangle in front of the scene


def choose_frames(
    video: Video, fps: float, augmentation: Augmentation, max_frames: int, min_frames: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Indices of a moment's frames at ``fps`` times a random speed, at most ``max_frames``.

    A source slower than ``fps`` repeats no frame: its steps are its own frames, as in the runtime. A clip too short
    for ``min_frames`` is taken at a lower speed, and its last frame is held if even that is not enough.
    """
    length = float(video.times[-1])
    speed = rng.uniform(*augmentation.speed)
    skip = rng.uniform(0, augmentation.max_skip) * length
    step = speed / fps
    if video.fps:
        step = max(step, 1 / video.fps)
    if (length - skip) / step < min_frames:
        skip = 0.0
        step = min(step, length / (min_frames - 1)) if length else step
    count = int((length - skip) / step) + 1
    start = skip
    if count > max_frames:
        start += rng.uniform(0, count - max_frames) * step
        count = max_frames
    wanted = start + np.arange(count) * step
    indices = np.searchsorted(video.times, wanted + 1e-3, side="right") - 1
    return np.pad(indices, (0, max(0, min_frames - count)), mode="edge")


def move_camera(
    frames: UInt8Array, height: int, width: int, augmentation: Augmentation, rng: np.random.Generator
) -> UInt8Array:
    """Crop, stretch, turn and mirror all frames (T, h, w, 3) alike -> (T, height, width, 3)."""
    h, w = frames.shape[1:3]
    share = rng.uniform(*augmentation.scale)
    share_y = np.clip(share * (1 + rng.uniform(-1, 1) * augmentation.stretch), 0.3, 1.0)
    share_x = np.clip(share * (1 + rng.uniform(-1, 1) * augmentation.stretch), 0.3, 1.0)
    centre = np.array([rng.uniform(share_x / 2, 1 - share_x / 2) * w, rng.uniform(share_y / 2, 1 - share_y / 2) * h])
    angle = np.deg2rad(rng.uniform(-1, 1) * augmentation.rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    zoom = np.diag([share_x * w / width, share_y * h / height])
    if rng.random() < augmentation.mirror:
        zoom[0, 0] *= -1
    linear = turn @ zoom  # from a pixel of the result, measured from its centre, to one of the source
    matrix = np.hstack([linear, (centre - linear @ [width / 2, height / 2])[:, None]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for frame, target in zip(frames, out, strict=True):
        cv2.warpAffine(frame, matrix, (width, height), dst=target, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return out


def change_light(frames: UInt8Array, augmentation: Augmentation, rng: np.random.Generator) -> UInt8Array:
    """Brightness, contrast, tint, gray, blur, a rectangle in front, noise: (T, H, W, 3) -> the same shape, a copy."""
    T, H, W, _ = frames.shape
    out = np.ascontiguousarray(frames).copy()
    if rng.random() < augmentation.gray:
        out[:] = np.round(out @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    gain = 1 + rng.uniform(-1, 1) * augmentation.gain + rng.uniform(-1, 1, 3) * augmentation.tint
    offset = rng.uniform(-1, 1) * augmentation.gain * 64
    table = np.clip((np.arange(256)[:, None] - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)  # (256, 3)
    cv2.LUT(out.reshape(T * H, W, 3), table[None], dst=out.reshape(T * H, W, 3))
    if rng.random() < augmentation.blur:
        sigma = rng.uniform(0.4, 1.2)
        for frame in out:
            cv2.GaussianBlur(frame, (0, 0), sigma, dst=frame)
    if rng.random() < augmentation.erase:
        h, w = (int(size * rng.uniform(0.15, 0.4)) for size in (H, W))
        y, x = rng.integers(0, H - h), rng.integers(0, W - w)
        out[:, y : y + h, x : x + w] = rng.integers(0, 256, 3)
    if augmentation.noise:
        deviation = rng.uniform(0, augmentation.noise)
        # int16 noise drawn once and shifted from frame to frame: as good as fresh, a tenth of the time
        noise = rng.normal(0, deviation, 2 * H * W * 3).astype(np.int16)
        for frame in out:
            shift = rng.integers(0, H * W * 3)
            noisy = frame.reshape(-1) + noise[shift : shift + H * W * 3]
            frame[:] = np.clip(noisy, 0, 255).astype(np.uint8).reshape(H, W, 3)
    return out
