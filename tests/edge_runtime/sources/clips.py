"""Small video files, written when a test needs one."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np


def write_video(
    path: Path, count: int, *, fps: float = 30, size: tuple[int, int] = (64, 48), codec: str = "mp4v"
) -> Path:
    """``count`` frames of ``size`` (width, height), each brighter than the one before; the top left is white."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    assert writer.isOpened()
    for index in range(count):
        image = np.full((size[1], size[0], 3), 10 + 2 * (index % 100), np.uint8)
        image[: size[1] // 2, : size[0] // 2] = 255
        writer.write(image)
    writer.release()
    return path


def rotate_tag(path: Path) -> Path:
    """Tag an MP4 as filmed with the device turned a quarter: to be shown turned clockwise by 90 degrees."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of fields before the matrix
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def write_timed_video(path: Path, times_ms: list[int]) -> Path:
    """An MJPEG Matroska file whose frames show at ``times_ms``: written evenly, then each block's time is replaced."""
    write_video(path, len(times_ms), fps=1000 / 40, codec="MJPG")
    data = bytearray(path.read_bytes())
    cluster = data.index(bytes.fromhex("1f43b675"))
    at, written = cluster, 0
    while written < len(times_ms):
        at = data.index(b"\xa3", at + 1)  # SimpleBlock: id, length, track 1, time, flags, JPEG
        width = 8 - data[at + 1].bit_length() + 1 if data[at + 1] else 0
        payload = at + 1 + width
        if width and data[payload] == 0x81 and data[payload + 4 : payload + 6] == b"\xff\xd8":
            data[payload + 1 : payload + 3] = struct.pack(">h", times_ms[written])
            written += 1
    path.write_bytes(data)
    return path
