"""What a source is: three verbs and a description.

A source delivers what its device or file delivers, in order, each frame stamped twice: ``t``, the moment it shows
(source time, seconds, for choosing frames and labelling results), and ``captured_ns``, the monotonic moment it
reached us (for latency). Choosing, resizing, dropping and reconnecting are others' work.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from edge_runtime.closing import Closeable
from edge_runtime.errors import InputError
from edge_runtime.events import Fault


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a camera or video, or one sample of a skeleton or IMU stream.

    ``data`` is uint8 BGR ``(H, W, 3)`` as OpenCV delivers it (preprocess turns it to RGB after the resize, when it is
    small), or float32 ``(C, V)`` / ``(C, V, M)`` for a skeleton with M bodies.
    """

    data: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    index: int  # position in the source, from 0
    t: float  # source time, seconds; falls only if the source's own clock is set back, which resets the networks
    captured_ns: int  # clock.monotonic_ns() as early as the backend allows
    epoch: int = 0  # rises when what came before is not this frame's past: a new connection, another picture size


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says of itself; ``None`` where it does not know."""

    name: str  # safe to print: credentials masked
    content: Literal["image", "skeleton"]
    live: bool  # frames arrive on their own clock and are lost if not taken
    fps: float | None
    width: int | None = None
    height: int | None = None
    frames: int | None = None  # as promised by the container: some promise more than decode


class Source(Protocol):
    """Opened on construction (raises InputError), read until None, closed once."""

    @property
    def info(self) -> SourceInfo: ...

    def read(self) -> Frame | Fault | None:
        """Next frame, or a fault that the source survived; None at the end of the stream.

        Raises:
            SourceLostError: a live source stopped delivering.
            UnreadableFrameError: this frame could not be decoded; the next may be.
        """
        ...

    def interrupt(self) -> None:
        """From another thread: a read that waits for a source to come back returns None."""
        ...

    @property
    def stuck(self) -> bool:
        """A thread of the source's own hangs in a driver and will not let the process end."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing(Closeable):
    """``with`` for a source, and what most sources do not need."""

    def interrupt(self) -> None:
        """Nothing waits for long."""

    @property
    def stuck(self) -> bool:
        return False


class SourceRefusedError(InputError):
    """The source answers, and no retry mends it: wrong credentials, a codec that cannot be decoded."""


class UnreadableFrameError(Exception):
    """One frame is lost (a broken JPEG in a folder); counted as a drop, the run goes on."""
