"""What a sink is: it takes events (and frames, if it shows them) and never slows the pipeline down."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Event
from edge_runtime.sources.base import Frame


class Sink(Protocol):
    """Opened on construction (raises InputError when it cannot write), fed by the sink thread, closed once."""

    name: str

    def emit(self, event: Event) -> None:
        """Take one event. May raise OSError: the pipeline counts it and goes on."""
        ...

    def close(self) -> None: ...


class FrameSink(Sink, Protocol):
    """A sink that also shows pictures: it gets each captured frame that it wants, before the events that speak of it.

    ``wants_picture`` is asked on the capture thread before each frame, and must answer at once: a picture that nobody
    looks at costs a thread switch, 0.2 ms on a busy 2-core machine.
    """

    @property
    def wants_picture(self) -> bool: ...

    def show(self, frame: Frame, image: npt.NDArray[np.uint8]) -> None: ...


def check_folder(option: str, path: Path) -> None:
    """Raises InputError where the folder of an output does not exist."""
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
