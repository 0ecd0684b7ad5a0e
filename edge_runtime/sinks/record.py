"""``--record out.mp4``: the video as it was seen, with what was recognised burnt in.

The file plays at the source's speed: a picture is repeated while no newer one came (a variable rate, a dropped frame)
and left out where several fall into one period. It can be played at any moment, also after the process was killed
(see `fragments`). What was there under its name stays until the first picture comes; a live source, which others
restart, never overwrites its earlier recordings: ``door.mp4`` becomes ``door.1.mp4``, the next time ``door.2.mp4``, …
"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.events import Event
from edge_runtime.sinks.base import check_folder
from edge_runtime.sinks.fragments import FragmentedVideo
from edge_runtime.sinks.overlay import Image, Overlay
from edge_runtime.sources.base import Frame, SourceInfo

MAX_SIDE = 1280  # pixels, the longer side; encoding 4K would take more of a small device than recognising it
MIN_SIDE = 640  # the longer side; smaller pictures are enlarged, for the text to be legible
MAX_FPS = 60.0
_FALLBACK_FPS = 30.0
# A longer silence (a camera that was away) is cut out rather than filled with repeats.
_LONGEST_REPEAT_S = 2.0


class Recorder:
    """Writes the pictures it is shown, each with the overlay of the events before it.

    Raises:
        InputError: not an .mp4, a folder that is not there, not writable, or a source that has no pictures.
    """

    name = "record"
    wants_picture = True

    def __init__(self, path: Path, info: SourceInfo) -> None:
        if path.suffix.lower() != ".mp4":
            raise InputError(f"--record {path}: expected a file ending in .mp4")
        if info.content != "image":
            raise InputError(f"--record {path}: the source has no pictures; leave it out for a skeleton")
        check_folder("--record", path)
        try:
            _try_writing(path)
        except OSError as error:
            raise InputError(f"--record {path}: cannot write: {error.strerror}") from None
        self._path = path
        self._lasting = info.live
        self._fps = min(MAX_FPS, info.fps or _FALLBACK_FPS)
        self._overlay = Overlay()
        self._video: FragmentedVideo | None = None
        self._size = (0, 0)
        self._picture: Image | None = None  # written last
        self._due = 0.0  # source time of the next picture of the file
        self._last_t = 0.0

    def emit(self, event: Event) -> None:
        self._overlay.take(event)

    def show(self, frame: Frame, image: Image) -> None:
        """Raises OSError when the encoder cannot be opened, or a part of the video not be written."""
        if self._video is None:
            self._size = _even_size(*image.shape[:2])
            if self._lasting:
                _set_aside(self._path)
            self._video = FragmentedVideo(self._path, self._fps, self._size)
            self._due = frame.t
        elif not 0 <= frame.t - self._last_t <= _LONGEST_REPEAT_S:
            self._due, self._picture = frame.t, None
        self._last_t = frame.t
        half = 0.5 / self._fps
        if frame.t < self._due - half:
            return
        picture = fit(image, self._size)
        self._overlay.draw(picture, frame.t)
        before, self._picture = self._picture, picture
        while before is not None and self._due < frame.t - half:
            self._write(self._video, before)
        self._write(self._video, picture)

    def _write(self, video: FragmentedVideo, picture: Image) -> None:
        self._due += 1 / self._fps
        video.write(picture)

    def close(self) -> None:
        """Raises OSError when the last part cannot be written."""
        if self._video is not None:
            self._video.close()


def _try_writing(path: Path) -> None:
    """Raises OSError where it cannot be done; leaves what is there, and nothing that was not."""
    existed = path.exists()
    path.open("ab").close()
    if not existed:
        path.unlink()


def _set_aside(path: Path) -> None:
    """Give what is there the next free number."""
    if path.exists():
        numbered = (path.with_stem(f"{path.stem}.{number}") for number in itertools.count(1))
        path.rename(next(other for other in numbered if not other.exists()))


def _even_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of the file: both even, as the codec wants, the longer side within bounds."""
    longer = max(height, width)
    factor = min(max(longer, MIN_SIDE), MAX_SIDE) / longer
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def fit(image: Image, size: tuple[int, int]) -> Image:
    """A copy of ``image`` in a picture of ``size`` (width, height), in its own proportions, black around it."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image.copy()
    factor = min(width / image.shape[1], height / image.shape[0])
    own = (min(width, max(1, round(image.shape[1] * factor))), min(height, max(1, round(image.shape[0] * factor))))
    small = cv2.resize(image, own, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if own == size:
        return np.asarray(small, np.uint8)
    picture = np.zeros((height, width, 3), np.uint8)
    left, top = (width - own[0]) // 2, (height - own[1]) // 2
    picture[top : top + own[1], left : left + own[0]] = small
    return picture
