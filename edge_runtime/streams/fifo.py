"""The state of a sliding sum: which memory each step reads and writes. No arithmetic here, the graph does that.

One layer with ``taps`` = 3 and ``dilation`` = 2 adds every second frame, so it has two phases (even and odd steps),
each with its own sums, in one ring of taps * dilation = 6 frames::

    slot       0     1     2     3     4     5
    phase      a     b     a     b     a     b
                           ^ step t: the frame here leaves the sum of phase a, the new one takes its place

``sum`` loses the leaving frame and gains the entering one, for ever, and so gathers rounding errors for ever. Beside
it ``fresh`` only gains. After a phase has gone once round the ring, ``fresh`` holds exactly the frames of its window,
added up once each: it becomes the ``sum`` (the two swap places), and the old sum, zeroed, the next ``fresh``. The
error never outlives one window, and the swap costs no addition.
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


class LayerState:
    """State of layer ``index`` for ``batch`` independent streams: all arrays have the shape (…, N, V, C)."""

    def __init__(self, index: int, layer: RtStgcnLayer, batch: int, nodes: int, *, spare: int) -> None:
        shape = (batch, nodes, layer.out_channels)
        self.ring = Ring(layer.taps * layer.dilation, shape, spare)
        self.sums = Sums(layer.taps, layer.dilation, shape)
        # The residual that enters is the layer's input, written long before the one that leaves is read: always spare.
        delay = layer.residual_delay
        self.residual = Ring(delay, (batch, nodes, layer.in_channels), spare=1) if delay else None
        self._leaving, self._entering = f"leaving.{index}", f"entering.{index}"
        self._running, self._fresh = f"sum.{index}", f"fresh.{index}"
        self._residual_leaving, self._residual_entering = f"residual_leaving.{index}", f"residual_entering.{index}"

    def bind(self, binding: Binding, t: int) -> None:
        """Point every state tensor of the layer at the memory of step ``t``."""
        self.ring.bind(binding, t, self._leaving, self._entering)
        self.sums.bind(binding, t, self._running, self._fresh)
        if self.residual is not None:
            self.residual.bind(binding, t, self._residual_leaving, self._residual_entering)

    def clear(self, slot: int | None = None) -> None:
        """Zero the state of one stream of the batch, or of all: what a stream that has just begun has.

        The ring's position is shared by the batch and needs no reset: a window that begins with zeros is the same
        window at any position.
        """
        which = slice(None) if slot is None else slot
        self.ring.data[:, which] = 0
        self.sums.data[:, :, which] = 0
        if self.residual is not None:
            self.residual.data[:, which] = 0

    @property
    def nbytes(self) -> int:
        residual = 0 if self.residual is None else self.residual.data.nbytes
        return self.ring.data.nbytes + self.sums.data.nbytes + residual
