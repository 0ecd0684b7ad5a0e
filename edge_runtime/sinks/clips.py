"""``--clips DIR``: a short video of every action, with the seconds before it.

The last `MEMORY_S` seconds are kept as JPEG, small and few enough for a Raspberry Pi: 640 pixels wide, 15 a second,
about 30 MB. When a segment ends, what is kept from ``PRE_ROLL_S`` before its start until now becomes
``DIR/20261125T200000Z-kick-12.4s.mp4``. The newest `KEPT` of such a name stay, older ones make room.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.events import Event, Segment
from edge_runtime.sinks.fragments import open_video
from edge_runtime.sinks.overlay import Image, Overlay
from edge_runtime.sinks.record import fit
from edge_runtime.sources.base import Frame, SourceInfo

MEMORY_S = 60.0  # of an action that lasts longer, the end is kept
PRE_ROLL_S = 3.0
KEPT = 500  # clips; at 1 MB each about the log's share of an SD card
FPS = 15.0
WIDTH = 640
_JPEG_QUALITY = 80
_OURS = f"{'[0-9]' * 8}T{'[0-9]' * 6}Z-*s.mp4"  # whatever else lies in the folder is not ours to delete


@dataclass(frozen=True, slots=True)
class _Kept:
    t: float
    jpeg: bytes


class Clips:
    """Clips of the actions called ``labels``, of every action where none is named.

    Raises:
        InputError: the folder cannot be made or written to, or the source has no pictures.
    """

    name = "clips"
    wants_picture = True

    def __init__(
        self,
        folder: Path,
        info: SourceInfo,
        labels: Collection[str] = (),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if info.content != "image":
            raise InputError(f"--clips {folder}: the source has no pictures; leave it out for a skeleton")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(f"--clips {folder}: cannot write: {error.strerror}") from None
        self._folder = folder
        self._labels = frozenset(labels)
        self._now = now
        self._overlay = Overlay()
        self._kept: deque[_Kept] = deque()
        self._size = (0, 0)

    def show(self, frame: Frame, image: Image) -> None:
        last = self._kept[-1].t if self._kept else -np.inf
        if frame.t < last:
            self._kept.clear()  # the source's clock was set back
        elif frame.t - last < 0.75 / FPS:
            return
        if not self._kept:
            self._size = _small(*image.shape[:2])
        picture = fit(image, self._size)
        self._overlay.draw(picture, frame.t)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
        self._kept.append(_Kept(frame.t, jpeg))
        while frame.t - self._kept[0].t > MEMORY_S:
            self._kept.popleft()

    def emit(self, event: Event) -> None:
        """Raises OSError when a clip cannot be written."""
        self._overlay.take(event)
        if isinstance(event, Segment) and (not self._labels or event.label in self._labels):
            self._write(event)

    def _write(self, segment: Segment) -> None:
        pictures = [kept for kept in self._kept if kept.t >= segment.start - PRE_ROLL_S]
        if not pictures:
            return
        label = re.sub(r"[^A-Za-z0-9_-]+", "_", segment.label)
        path = self._folder / f"{self._now():%Y%m%dT%H%M%SZ}-{label}-{segment.start:.1f}s.mp4"
        unfinished = self._folder / f".{path.name}"
        writer = open_video(unfinished, FPS, self._size)
        due = pictures[0].t
        for kept in pictures:
            picture = np.asarray(cv2.imdecode(np.frombuffer(kept.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
            while due <= kept.t + 0.5 / FPS:
                writer.write(picture)
                due += 1 / FPS
        writer.release()
        unfinished.replace(path)
        for old in sorted(self._folder.glob(_OURS))[:-KEPT]:
            old.unlink()

    def close(self) -> None:
        self._kept.clear()


def _small(height: int, width: int) -> tuple[int, int]:
    """(width, height), both even, at most `WIDTH` wide."""
    factor = min(1.0, WIDTH / width)
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)
