"""The encoder stage by itself: a frame's fmap depends on that frame alone, so any thread may compute it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge_runtime.models.session import Binding, Session, tensor
from edge_runtime.streams.observer import Observer, ignore, run_stage


class FrameEncoder:
    """Frame -> fmap, in the next of ``fmaps``: a result holds until its turn comes again.

    One thread may call it. Several encoders may share a session and ``fmaps``, and run side by side.
    """

    def __init__(self, session: Session, shape: tuple[int, int, int], fmaps: Iterator[ort.OrtValue]) -> None:
        """``shape`` is a frame's, (H, W, 3)."""
        self._binding = Binding(session)
        self._frame = np.zeros((1, *shape), np.uint8)
        self._binding.bind_input("frame", tensor(self._frame))
        self._fmaps = fmaps

    def __call__(self, frame: npt.NDArray[np.uint8], observer: Observer = ignore) -> ort.OrtValue:
        """uint8 RGB (H, W, 3), not kept -> float32 (1, C, h, w)."""
        fmap = next(self._fmaps)
        np.copyto(self._frame[0], frame)
        self._binding.bind_output("fmap", fmap)
        run_stage(self._binding, "imfe.encoder", observer)
        return fmap
