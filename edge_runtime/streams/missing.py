"""What stands in for a value that a sensor did not deliver."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class LastSeen:
    """Frames (N, C, V) without gaps.

    A node with a NaN or an infinity in any channel was not seen (half a joint is no position) and holds its last value;
    one never seen is zero. ``values`` is always the same memory.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        people, _, nodes = shape
        self.values = np.zeros(shape, np.float32)
        self._finite = np.zeros(shape, np.bool_)
        self._seen = np.zeros((people, 1, nodes), np.bool_)

    def take(self, x: npt.NDArray[np.number[Any]]) -> None:
        """Bring ``values`` up to the next frame, of the same shape."""
        np.isfinite(x, out=self._finite)
        np.logical_and.reduce(self._finite, axis=1, keepdims=True, out=self._seen)
        np.copyto(self.values, x, where=self._seen, casting="same_kind")
