"""The RGB stream: what a clip looks like, from its central frame alone.

It is looked at on a frame that gives no result, as soon as it is there: then nothing of it is left to do after the
clip's last frame. Frames are kept for as long as they may turn out to be central, because the hop may change.

::

    hop 6    f0  f1  f2  f3  f4  f5  f6  f7  f8  f9  f10 f11
                                head        look         head       f8 is the centre of f6 ... f11
    hop 3                       head look   head look    head       f5 is the centre of f3 ... f8
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.models.session import Binding, Session, tensor
from edge_runtime.streams.observer import Observer, run_stage


class CentralFrame:
    """Keeps the last ``lag`` + 1 frames and looks at one of them: the stage ``central_frame`` -> ``appearance``.

    ``lag`` is how many frames of the clip come after its central one; ``map`` is where the result lies, float32
    (1, A, h, w).
    """

    def __init__(
        self, session: Session, frame_shape: tuple[int, int, int], map_shape: tuple[int, ...], lag: int
    ) -> None:
        self.lag = lag
        self._frames = np.zeros((lag + 1, 1, *frame_shape), np.uint8)
        self._values = [tensor(frame) for frame in self._frames]
        self._binding = Binding(session)
        self.map = tensor(np.zeros(map_shape, np.float32))
        self._binding.bind_output("appearance", self.map)
        self._kept = 0  # frames so far
        self._looked_at: int | None = None

    def keep(self, frame: npt.NDArray[np.uint8]) -> None:
        """The next frame, uint8 RGB (H, W, 3), copied."""
        np.copyto(self._frames[self._kept % len(self._frames)][0], frame)
        self._kept += 1

    def look_ahead(self, frames_to_result: int, observer: Observer) -> None:
        """Look at the central frame of the clip that ends in so many frames, if it is there already."""
        if 0 < frames_to_result <= self.lag:
            self.look(self.lag - frames_to_result, observer)

    def look(self, age: int, observer: Observer) -> None:
        """Compute ``map`` of the frame that came ``age`` frames ago (0: the newest), unless it is that already."""
        which = self._kept - 1 - age
        if which != self._looked_at:
            self._binding.bind_input("central_frame", self._values[which % len(self._values)])
            run_stage(self._binding, "imfe.appearance", observer)
            self._looked_at = which
