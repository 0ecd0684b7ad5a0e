"""Frames from memory at a camera's pace: the load of a benchmark, the same every time.

Arrivals are *open-loop*: frame i is due at ``start + i / fps`` and stamped with that moment, whether or not anybody was
ready for it. A frame that had to wait behind a slow one is late by that wait and counted so. A loop that reads the next
frame when the last one is done would leave out exactly the waits that a camera's user sees (coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Fault
from edge_runtime.models.metadata import RtStgcnMetadata
from edge_runtime.sources.base import Closing, Frame, Source, SourceInfo, UnreadableFrameError

MAX_BYTES = 64 << 20  # of frames held; 70 of 640 x 480

Data = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """Decoded frames and the rate at which they are to come."""

    frames: Sequence[Data]
    info: SourceInfo
    fps: float

    @classmethod
    def of(cls, source: Source, default_fps: float) -> Recording:
        """The beginning of ``source``, as much of it as `MAX_BYTES` hold. Closes it.

        Raises:
            InputError: no frame of it can be read.
        """
        frames: list[Data] = []
        size = 0
        with source:
            while size < MAX_BYTES:
                try:
                    frame = source.read()
                except UnreadableFrameError:
                    continue
                if frame is None:
                    break
                if isinstance(frame, Fault):
                    continue
                frames.append(frame.data)
                size += frame.data.nbytes
            info = source.info
        if not frames:
            raise InputError(f"{info.name}: no frame of it can be read")
        return cls(frames, info, info.fps or default_fps)

    def frame(self, index: int, captured_ns: int) -> Frame:
        """Frame ``index`` of the recording repeated for ever."""
        return Frame(self.frames[index % len(self.frames)], index, index / self.fps, captured_ns)


def random_skeleton(metadata: RtStgcnMetadata, seconds: float = 10.0) -> Recording:
    """Normal noise in a skeleton's shape: the cost of a step does not depend on what is in it."""
    count = max(1, round(seconds * metadata.fps))
    shape = (count, metadata.in_channels, metadata.graph.num_node)
    frames = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Recording(list(frames), SourceInfo("random joints", "skeleton", False, metadata.fps), metadata.fps)


class PacedSource(Closing):
    """``count`` frames of a recording, each when it is due."""

    def __init__(
        self,
        recording: Recording,
        count: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.info = SourceInfo(
            f"{recording.info.name}, repeated from memory at {recording.fps:g} FPS",
            recording.info.content,
            live=True,
            fps=recording.fps,
            width=recording.info.width,
            height=recording.info.height,
            frames=count,
        )
        self._recording = recording
        self._count = count
        self._clock = clock
        self._sleep = sleep
        self._start_ns: int | None = None
        self._index = 0

    def read(self) -> Frame | None:
        if self._index == self._count:
            return None
        if self._start_ns is None:
            self._start_ns = self._clock()
        due_ns = self._start_ns + round(self._index * 1e9 / self._recording.fps)
        wait_ns = due_ns - self._clock()
        if wait_ns > 0:
            self._sleep(wait_ns / 1e9)
        frame = self._recording.frame(self._index, due_ns)
        self._index += 1
        return frame

    def close(self) -> None:
        """Nothing is held but memory."""
