"""Streaming LSTR: one clip's regions in, logits out; what it remembers is computed once, when it happens.

The graph is a pure step ``(x, memories) -> (logits, what enters them)``. Each memory is a FIFO whose window is handed
over by reference, oldest first (`fifo.Window` draws it): nothing is shifted and nothing is computed again.

::

    memory of age 3 and length 4        t-6  t-5  t-4  t-3 │ t-2  t-1 │ t
                                       [ what step t sees ] │ too young│ enters
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.closing import Closeable
from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import LstrMetadata
from edge_runtime.models.session import ORT_ERRORS, Binding, open_session, tensor
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.fifo import Window
from edge_runtime.streams.missing import LastSeen
from edge_runtime.streams.observer import Observer, ignore, run_stage


class LstrStream(Closeable):
    """One stream: ``step(x)`` takes ``(C, V)`` and gives ``(classes,)``.

    Args:
        model: path of an ``lstr.onnx``, or a model already loaded.
        threads: threads inside one operator.
        provider: a key of ``edge_runtime.models.session.PROVIDERS``; ``providers`` says what actually ran.
        observer: told as each step ends, as stage ``lstr``.

    Raises:
        InputError: the model or an argument cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelFile,
        *,
        threads: int = 1,
        provider: str = "cpu",
        observer: Observer | None = None,
    ) -> None:
        file = model if isinstance(model, ModelFile) else open_model(model)
        if not isinstance(file.metadata, LstrMetadata):
            raise InputError(f"{file.path}: expected an LSTR, found a model of kind '{file.metadata.kind}'")
        self.metadata = meta = file.metadata
        self.sha256 = file.sha256
        self._observer: Observer = ignore
        session = open_session(file.data, threads=threads, provider=provider, name=str(file.path))
        self.providers = {"lstr": session.provider}
        self._input = LastSeen((1, meta.in_channels, meta.num_node))
        self._x = self._input.values
        self._logits = np.zeros((1, len(meta.labels)), np.float32)
        self._memories = [
            Window(memory.age + memory.length, 1, (memory.width,), seen=memory.length) for memory in meta.memories
        ]
        self._binding = Binding(session)
        self._binding.bind_input("x", tensor(self._x))
        self._binding.bind_output("logits", tensor(self._logits))
        self.reset()
        try:
            self._run()
        except ORT_ERRORS as error:
            raise InputError(f"{file.path}: the model does not run: {str(error).splitlines()[0][:200]}") from None
        if not np.isfinite(self._logits).all():
            raise InputError(f"{file.path}: computes no finite number from zeros; the file is damaged")
        self.reset()
        self._observer = observer or ignore

    def _run(self) -> None:
        for memory, window in zip(self.metadata.memories, self._memories, strict=True):
            window.bind(self._binding, self._t, memory.name, f"{memory.name}.entering")
        run_stage(self._binding, "lstr", self._observer)
        for window in self._memories:
            window.settle(self._t)

    @property
    def receptive_field(self) -> int:
        """Steps that one output depends on, once as many have been."""
        return self.metadata.receptive_field

    @property
    def delay(self) -> int:
        """Steps between the moment a result speaks of and the moment it is known."""
        return 0

    @property
    def state_bytes(self) -> int:
        """Bytes of the memories, as allocated."""
        return sum(window.data.nbytes for window in self._memories)

    @property
    def warm(self) -> bool:
        """Whether the short memory is full. The long one masks what has not been, and was trained from its start."""
        return self._t >= self.metadata.short

    def step(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """One step: ``(C, V)`` -> logits ``(classes,)``, the caller's own; gaps as in ``missing.LastSeen``.

        Raises:
            InputError: another shape.
        """
        if x.shape != self._x.shape[1:]:
            raise InputError(f"x: expected shape {self._x.shape[1:]} (C, V), found {x.shape}")
        self._input.take(x[np.newaxis])
        self._run()
        self._t += 1
        logits: npt.NDArray[np.float32] = self._logits[0].copy()
        return logits

    def steps(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """``(L, C, V)``, L any number at every call -> logits ``(L, classes)``, as L steps."""
        return np.stack([self.step(frame) for frame in x])

    def reset(self) -> None:
        """Begin anew: between trials, after a gap."""
        self._t = 0
        self._x[:] = 0
        for memory, window in zip(self.metadata.memories, self._memories, strict=True):
            window.data[:] = memory.empty
