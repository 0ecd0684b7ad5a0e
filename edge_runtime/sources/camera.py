"""A camera on this machine, through V4L2: ``0``, ``/dev/video0``, or a path that survives re-plugging.

Numbers follow the order of detection and change with it; ``/dev/v4l/by-id/…`` names one device, ``/dev/v4l/by-path/…``
one socket. ``list_cameras`` prints both. The driver's buffer is cut to one frame where the driver allows it: V4L2 holds
four by default, which at 30 FPS is 133 ms of age nobody asked for.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_runtime.errors import InputError
from edge_runtime.sources.base import SourceInfo
from edge_runtime.sources.live import LiveSource
from edge_runtime.sources.opencv import Capture, OpenCapture

log = logging.getLogger(__name__)


class CameraSource(LiveSource):
    """Camera ``device``; ``size`` (width, height) and ``fps`` are requests, ``info`` says what was granted.

    Raises:
        InputError: no such camera, no permission, busy, or not a device that captures.
    """

    def __init__(
        self,
        device: str,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        open_capture: OpenCapture = cv2.VideoCapture,
    ) -> None:
        path = Path(f"/dev/video{device}" if device.isdecimal() else device)
        _require_device(path)
        # OpenCV takes /dev/videoN only, so a stable path is followed to the number it has now
        capture = open_capture(str(path.resolve()), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise InputError(f"camera {path}: it is in use by another program, or it is not a device that captures")
        _request(capture, size, fps)
        granted = tuple(int(capture.get(item)) for item in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        rate = capture.get(cv2.CAP_PROP_FPS)
        info = SourceInfo(f"camera {path}", "image", True, rate if rate > 0 else None, *granted)
        _report(info, size, fps)
        super().__init__(capture, info, clock, stamped="arrival")


@dataclass(frozen=True, slots=True)
class Camera:
    """One capture device: its name, its number now, and the paths that outlive a re-plug."""

    name: str
    device: Path
    stable: tuple[Path, ...]


def list_cameras(root: Path = Path("/")) -> list[Camera]:
    """V4L2 devices of this machine, by number. One camera often shows a second node, for metadata."""
    links = [link for folder in ("by-id", "by-path") for link in sorted((root / "dev/v4l" / folder).glob("*"))]
    found = []
    for entry in (root / "sys/class/video4linux").glob("video*"):
        device = root / "dev" / entry.name
        stable = tuple(link for link in links if link.resolve() == device.resolve())
        found.append(Camera((entry / "name").read_text().strip(), device, stable))
    return sorted(found, key=lambda camera: int(camera.device.name.removeprefix("video")))


def _require_device(path: Path) -> None:
    if not path.exists():
        known = ", ".join(str(camera.device) for camera in list_cameras()) or "none"
        raise InputError(f"camera {path}: no such device; cameras here: {known}")
    if not path.is_char_device():
        raise InputError(f"camera {path}: not a camera; give a file with --video")
    if not os.access(path, os.R_OK | os.W_OK):
        raise InputError(f"camera {path}: no permission; add this user to the group 'video'")


def _request(capture: Capture, size: tuple[int, int] | None, fps: float | None) -> None:
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if size:
        # above VGA most USB cameras reach their frame rate in MJPEG only: raw 720p at 30 FPS exceeds USB 2
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps:
        capture.set(cv2.CAP_PROP_FPS, fps)


def _report(info: SourceInfo, size: tuple[int, int] | None, fps: float | None) -> None:
    rate = f"{info.fps:g} FPS" if info.fps else "an unstated rate"
    log.info("%s: %sx%s at %s", info.name, info.width, info.height, rate)
    if size and size != (info.width, info.height):
        log.warning("%s: asked for %dx%d, granted %sx%s", info.name, *size, info.width, info.height)
    if fps and info.fps and abs(fps - info.fps) > 0.5:
        log.warning("%s: asked for %g FPS, granted %g", info.name, fps, info.fps)
