"""The FIFO of pair features, in the memory where the network computes: nothing is copied to hand a clip to the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnxruntime as ort

from edge_runtime.models.session import tensor


class Pairs(Protocol):
    """The last pairs of a stream; ``full`` once they make a clip."""

    @property
    def full(self) -> bool: ...

    def clear(self) -> None: ...

    def next_slot(self) -> ort.OrtValue:
        """Where the next pair is to be written."""
        ...

    def window(self) -> Mapping[str, ort.OrtValue]:
        """The head's inputs: the clip's pairs, oldest first."""
        ...


class PairBuffer:
    """The last ``length`` pairs side by side, so that the head's input is a view and motion writes in place.

    ::

        slot      0    1    2    3    4    5    6    7       length = 4, capacity = 8
                      [p    p    p    p]                     window(): one contiguous view, oldest first
                                        next_slot()

    At the end of the buffer the newest ``length - 1`` pairs move to the front: less than one pair copied a frame.
    """

    def __init__(self, length: int, pair_shape: tuple[int, ...], head_input: str) -> None:
        batch, channels, height, width = pair_shape
        capacity = 2 * length
        self._length = length
        # (1, capacity * P, h, w): channels of successive pairs adjoin, as the head wants them
        self._data = np.zeros((batch, capacity * channels, height, width), np.float32)
        self._slots = [self._view(i * channels, (i + 1) * channels) for i in range(capacity)]
        self._windows = {
            end: {head_input: self._view((end - length) * channels, end * channels)}
            for end in range(length, capacity + 1)
        }
        self._tail = channels * (length - 1)
        self.clear()

    def _view(self, start: int, stop: int) -> ort.OrtValue:
        return tensor(self._data[:, start:stop])

    def clear(self) -> None:
        self._end = 0  # slot after the newest pair
        self._held = 0  # consecutive pairs that end there

    @property
    def full(self) -> bool:
        return self._held >= self._length

    def next_slot(self) -> ort.OrtValue:
        """Where the next pair is to be written."""
        if self._end == len(self._slots):
            self._data[:, : self._tail] = self._data[:, self._data.shape[1] - self._tail :]
            self._end = self._length - 1
        slot = self._slots[self._end]
        self._end += 1
        self._held += 1
        return slot

    def window(self) -> Mapping[str, ort.OrtValue]:
        """The last ``length`` pairs as the head's input, ``(1, length * P, h, w)``."""
        return self._windows[self._end]


class PairRing:
    """The last ``length`` pairs, a tensor each, for memory that cannot be sliced from here (a GPU's).

    The head joins them itself: its inputs are ``names``, oldest first (``stages.with_parts``).
    """

    def __init__(self, slots: Sequence[ort.OrtValue], names: Sequence[str]) -> None:
        self._slots = slots
        self._windows = [
            {name: slots[(oldest + i) % len(slots)] for i, name in enumerate(names)} for oldest in range(len(slots))
        ]
        self.clear()

    def clear(self) -> None:
        self._end = 0  # slot after the newest pair, which is the oldest one's
        self._held = 0

    @property
    def full(self) -> bool:
        return self._held >= len(self._slots)

    def next_slot(self) -> ort.OrtValue:
        slot = self._slots[self._end]
        self._end = (self._end + 1) % len(self._slots)
        self._held += 1
        return slot

    def window(self) -> Mapping[str, ort.OrtValue]:
        return self._windows[self._end]
