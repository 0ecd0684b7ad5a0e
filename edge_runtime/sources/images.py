"""A folder of pictures as a video, in the order a person would sort them: frame2 before frame10."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.opencv import decode_image

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})


class ImagesSource(Closing):
    """Pictures of ``folder`` at ``fps`` frames a second. Each may have its own size; EXIF rotation is applied.

    Raises:
        InputError: no such folder, or no picture in it.
    """

    def __init__(self, folder: Path, fps: float, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        if not folder.is_dir():
            what = "it is a file; give a video with --video" if folder.is_file() else "no such folder"
            raise InputError(f"images {folder}: {what}")
        try:
            names = [item for item in folder.iterdir() if item.suffix.lower() in _SUFFIXES]
        except OSError as error:
            raise InputError(f"images {folder}: {error.strerror}") from None
        if not names:
            raise InputError(
                f"images {folder}: no picture in it; expected files ending in {', '.join(sorted(_SUFFIXES))}"
            )
        self._paths = sorted(names, key=natural_key)
        self._clock = clock
        self._index = 0
        self._info = SourceInfo(str(folder), "image", False, fps, frames=len(names))

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        """Next picture; an unreadable one raises UnreadableFrameError, keeps its place in time, and is passed."""
        if self._index == len(self._paths):
            return None
        index, self._index = self._index, self._index + 1
        path = self._paths[index]
        captured_ns = self._clock()  # before it is decoded, which is what capturing costs with a file
        try:
            image = decode_image(path.read_bytes(), str(path))
        except OSError as error:
            raise UnreadableFrameError(f"{path}: {error.strerror}") from None
        assert self._info.fps is not None
        return Frame(image, index, index / self._info.fps, captured_ns)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which digits count as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)
