"""Shows that pictures are cut out of a stream of JPEGs however it arrives."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.base import UnreadableFrameError
from edge_runtime.sources.mjpeg import MjpegSource


def jpeg(level: int) -> bytes:
    return cv2.imencode(".jpg", np.full((24, 32, 3), level, np.uint8))[1].tobytes()


class Trickle(io.BytesIO):
    """Gives few bytes at a time, as a slow pipe does."""

    def __init__(self, data: bytes, chunk: int):
        super().__init__(data)
        self.chunk = chunk

    def read1(self, size=-1):
        return super().read1(self.chunk)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_pictures_come_one_by_one_with_rubbish_between_them(chunk):
    data = b"HTTP garbage\xff" + jpeg(50) + b"\r\n--boundary\r\n" + jpeg(100) + jpeg(150) + b"\xff\xd8 cut off"
    ticks = iter(range(0, 10**10, 40_000_000))
    with MjpegSource(Trickle(data, chunk), clock=lambda: next(ticks)) as source:
        frames = [source.read() for _ in range(3)]
        assert source.read() is None
        assert source.info.live
    assert [int(frame.data.mean()) for frame in frames] == [50, 100, 150]
    assert [frame.t for frame in frames] == [0, 0.04, 0.08]


def test_a_damaged_picture_is_one_lost_frame():
    broken = bytearray(jpeg(100))
    broken[200:400] = bytes(200)
    source = MjpegSource(io.BytesIO(jpeg(50) + bytes(broken) + jpeg(150)))
    assert source.read().index == 0
    with pytest.raises(UnreadableFrameError, match="frame 1"):
        source.read()
    assert source.read().index == 2


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00\x01 H.264", b"\xff\xd8 never ends"])
def test_a_stream_without_a_picture_is_refused(data):
    with pytest.raises(InputError, match="no JPEG"):
        MjpegSource(io.BytesIO(data))
