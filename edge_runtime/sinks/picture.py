"""The live picture: frames in, one JPEG out for however many people watch.

A frame is taken only while somebody watches, at most `RATE_HZ` times a second; a thread of its own reduces, draws and
encodes it: 1.4 ms for one of 720p (x86, the GIL released), 1.4 % of one core however many watch. Readers wait for a
number higher than the one they sent last, so a slow one skips pictures and never queues them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt

RATE_HZ = 10
WIDTH = 640  # pixels; a phone shows no more, and a 4K JPEG would take 40 ms
QUALITY = 75


class Picture:
    """A mailbox for one frame, and the JPEG made of the newest."""

    def __init__(self, draw: Callable[[npt.NDArray[np.uint8], float], None]) -> None:
        """``draw(image, t)`` paints the overlay into the reduced BGR picture of the moment ``t``, in place."""
        self._draw = draw
        self._changed = threading.Condition()
        self._frame: tuple[npt.NDArray[np.uint8], float] | None = None
        self._due_s = 0.0
        self._jpeg = b""
        self._number = 0
        self._viewers = 0
        self._closed = False
        self._failure: Exception | None = None  # of the encoder's thread, for `show` to tell
        self._thread = threading.Thread(target=self._encode, name="picture", daemon=True)
        self._thread.start()

    @property
    def viewers(self) -> int:
        return self._viewers

    @property
    def wanted(self) -> bool:
        """Whether a frame offered now would be shown to anybody."""
        return self._viewers > 0 and time.monotonic() >= self._due_s

    def show(self, image: npt.NDArray[np.uint8], t: float) -> None:
        """Offer a BGR ``(H, W, 3)`` frame of the moment ``t`` (s); kept by reference, never changed.

        Raises what drawing or encoding an earlier one did; this one is offered all the same.
        """
        with self._changed:
            failure, self._failure = self._failure, None
            self._due_s = time.monotonic() + 1 / RATE_HZ
            self._frame = (image, t)
            self._changed.notify_all()
        if failure is not None:
            raise failure

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=1)

    @contextmanager
    def watch(self) -> Iterator[int]:
        """Be counted as a viewer for as long as the block runs; gives the number to ask for pictures after.

        What was encoded for somebody earlier is not for this one: an old picture looks as live as a new one.
        """
        with self._changed:
            self._viewers += 1
            number = self._number
        try:
            yield number
        finally:
            with self._changed:
                self._viewers -= 1

    def next(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """``(number, jpeg)`` newer than ``after``; None when none came in time or the picture is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._closed, timeout_s)
            return (self._number, self._jpeg) if self._number > after and not self._closed else None

    def _encode(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._frame is not None)
                frame, self._frame = self._frame, None
            if self._closed or frame is None:
                return
            try:
                jpeg = self._to_jpeg(*frame)
            except Exception as error:
                self._failure = error
                continue
            with self._changed:
                self._jpeg = jpeg
                self._number += 1
                self._changed.notify_all()

    def _to_jpeg(self, image: npt.NDArray[np.uint8], t: float) -> bytes:
        height, width = image.shape[:2]
        size = (WIDTH, max(1, round(height * WIDTH / width))) if width > WIDTH else (width, height)
        small = np.asarray(
            cv2.resize(image, size, interpolation=cv2.INTER_AREA) if width > WIDTH else image.copy(), np.uint8
        )
        self._draw(small, t)
        return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
