"""The state of a layer in time: which memory each step reads and writes. No arithmetic here, the graph does that.

One layer with ``taps`` = 3 and ``dilation`` = 2 adds every second frame, so it has two phases (even and odd steps),
each with its own sums, in one ring of taps * dilation = 6 frames::

    slot       0     1     2     3     4     5
    phase      a     b     a     b     a     b
                           ^ step t: the frame here leaves the sum of phase a, the new one takes its place

``sum`` loses the leaving frame and gains the entering one, for ever, and so gathers rounding errors for ever. Beside
it ``fresh`` only gains. After a phase has gone once round the ring, ``fresh`` holds exactly the frames of its window,
added up once each: it becomes the ``sum`` (the two swap places), and the old sum, zeroed, the next ``fresh``. No
rounding error is older than two rounds of the ring, and the swap costs no addition.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.models.metadata import RtStgcnLayer
from edge_runtime.models.session import Binding, tensor


class Ring:
    """A FIFO of ``length`` frames whose entering frame takes the place of the leaving one (``spare`` = 0).

    Where a graph writes the entering frame before it has read the leaving one, they need different places:
    ``spare`` = 1 gives one more slot.
    """

    def __init__(self, length: int, shape: tuple[int, ...], spare: int) -> None:
        self.data = np.zeros((length + spare, *shape), np.float32)
        self._values = [tensor(slot) for slot in self.data]
        self._spare = spare

    def bind(self, binding: Binding, t: int, leaving: str, entering: str) -> None:
        """Point the inputs and outputs of step ``t`` at its slots: the frame of ``length`` steps ago, and its own."""
        slots = len(self._values)
        binding.bind_input(leaving, self._values[(t + self._spare) % slots])
        binding.bind_output(entering, self._values[t % slots])


class Sums:
    """Running and fresh sum of each phase; see the module's docstring for the swap."""

    def __init__(self, taps: int, dilation: int, shape: tuple[int, ...]) -> None:
        # (side, phase, ...): in round r of the ring the running sums are on side r % 2, the fresh ones on the other
        self.data = np.zeros((2, dilation, *shape), np.float32)
        self._values = [[tensor(phase) for phase in side] for side in self.data]
        self._dilation = dilation
        self._length = taps * dilation
        self._bound = (-1, -1)

    def bind(self, binding: Binding, t: int, running: str, fresh: str) -> None:
        """Point step ``t`` at the sums of its phase, updated in place; begin the fresh sum anew in each round."""
        turn, slot = divmod(t, self._length)
        side, phase = turn % 2, slot % self._dilation
        if slot < self._dilation:
            self.data[1 - side, phase] = 0
        if (side, phase) == self._bound:
            return
        self._bound = (side, phase)
        for name, value in ((running, self._values[side][phase]), (fresh, self._values[1 - side][phase])):
            binding.bind_input(name, value)
            binding.bind_output(f"{name}.out", value)


class Window:
    """The last ``taps - 1`` frames of each phase as one contiguous view, oldest first, for a layer that reads them all.

    ::

        slot          0    1    2    3    4    5       length = 3, one phase, step n with n % 3 = 1
        read               [a    b    c]
        write                             d            then copied to slot 1, where a was

    Every frame lies in two slots, ``length`` apart, so that a view that begins anywhere never wraps. With ``seen`` the
    view ends after so many frames: the youngest are kept, to be seen later.
    """

    def __init__(self, taps: int, dilation: int, shape: tuple[int, ...], seen: int | None = None) -> None:
        self._length = taps - 1
        seen = self._length if seen is None else seen
        self._dilation = dilation
        self.data = np.zeros((dilation, max(2 * self._length, 1), *shape), np.float32)
        self._frames = [[tensor(frame) for frame in phase] for phase in self.data]
        self._views = [[tensor(phase[start : start + seen]) for start in range(self._length)] for phase in self.data]

    def bind(self, binding: Binding, t: int, window: str, entering: str) -> None:
        """Point step ``t`` at the window of its phase and the slot after it."""
        n, phase = divmod(t, self._dilation)
        start = n % self._length if self._length else 0
        if self._length:
            binding.bind_input(window, self._views[phase][start])
        binding.bind_output(entering, self._frames[phase][start + self._length])

    def settle(self, t: int) -> None:
        """After step ``t``: copy the frame that entered to its second slot."""
        if self._length:
            n, phase = divmod(t, self._dilation)
            start = n % self._length
            np.copyto(self.data[phase, start], self.data[phase, start + self._length])


class LayerState:
    """State of layer ``index`` for ``batch`` independent streams: all arrays have the shape (…, N, V, C)."""

    def __init__(self, index: int, layer: RtStgcnLayer, batch: int, nodes: int, *, spare: int) -> None:
        shape = (batch, nodes, layer.out_channels)
        self.ring: Ring | None = None
        self.sums: Sums | None = None
        self.window: Window | None = None
        self.residual: Ring | None = None
        if layer.memory == "sum":
            self.ring = Ring(layer.taps * layer.dilation, shape, spare)
            self.sums = Sums(layer.taps, layer.dilation, shape)
        else:
            self.window = Window(layer.taps, layer.dilation, shape)
        if layer.residual_delay:
            # what enters is the layer's input, written long before the one that leaves is read: always spare
            self.residual = Ring(layer.residual_delay, (batch, nodes, layer.in_channels), spare=1)
        self._leaving, self._entering = f"leaving.{index}", f"entering.{index}"
        self._running, self._fresh, self._window = f"sum.{index}", f"fresh.{index}", f"window.{index}"
        self._residual_leaving, self._residual_entering = f"residual_leaving.{index}", f"residual_entering.{index}"

    def bind(self, binding: Binding, t: int) -> None:
        """Point every state tensor of the layer at the memory of step ``t``."""
        if self.ring is not None and self.sums is not None:
            self.ring.bind(binding, t, self._leaving, self._entering)
            self.sums.bind(binding, t, self._running, self._fresh)
        if self.window is not None:
            self.window.bind(binding, t, self._window, self._entering)
        if self.residual is not None:
            self.residual.bind(binding, t, self._residual_leaving, self._residual_entering)

    def clear(self, slot: int | None = None) -> None:
        """Zero the state of one stream of the batch, or of all: what a stream that has just begun has.

        The position is shared by the batch and needs no reset: a window that begins with zeros is the same window at
        any position.
        """
        which = slice(None) if slot is None else slot
        for part in (self.ring, self.residual):
            if part is not None:
                part.data[:, which] = 0
        for phased in (self.sums, self.window):
            if phased is not None:
                phased.data[:, :, which] = 0

    @property
    def nbytes(self) -> int:
        parts = (self.ring, self.sums, self.window, self.residual)
        return sum(part.data.nbytes for part in parts if part is not None)
