"""Streaming RT-ST-GCN: one frame of a skeleton, of sensors or of image regions in, logits out, at constant cost.

The graph is a pure step ``(x, state) -> (logits, state)``; the state is ours and handed over by reference: this
step's ring slots and sums are bound as inputs and outputs, so nothing is copied and nothing grows with the window
(``edge_runtime.streams.fifo`` draws it, ``docs/rtstgcn.md`` says why it equals the network that was trained).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.closing import Closeable
from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import RtStgcnMetadata
from edge_runtime.models.session import ORT_ERRORS, Binding, Session, open_session, tensor
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.fifo import LayerState
from edge_runtime.streams.missing import LastSeen
from edge_runtime.streams.observer import Observer, ignore, run_stage


class _GraphStream(Closeable):
    """What one stream and a batch of them say of themselves."""

    metadata: RtStgcnMetadata

    @property
    def receptive_field(self) -> int:
        """Steps that one output depends on."""
        return self.metadata.receptive_field

    @property
    def delay(self) -> int:
        """Steps between the moment a result speaks of and the moment it is known."""
        return self.metadata.delay


class RtStgcnBatch(_GraphStream):
    """``slots`` independent streams in one call: several skeletons of a scene, or several cameras, in step.

    A slot joins and leaves by ``reset(slot)``, which touches no other. All slots step together; one that has no new
    frame is given NaN and so holds its last one.

    Args:
        model: path or zoo name of an ``rtstgcn.onnx``, or a model already loaded.
        slots: streams N.
        threads: threads inside one operator.
        provider: a key of ``edge_runtime.models.session.PROVIDERS``; ``providers`` says what actually ran.
        observer: told what each step took, as stage ``rtstgcn``.

    Raises:
        InputError: the model or an argument cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelFile,
        slots: int,
        *,
        threads: int = 1,
        provider: str = "cpu",
        observer: Observer | None = None,
    ) -> None:
        file = model if isinstance(model, ModelFile) else open_model(model)
        if not isinstance(file.metadata, RtStgcnMetadata):
            raise InputError(f"{file.path}: expected an RT-ST-GCN, found a model of kind '{file.metadata.kind}'")
        if slots < 1:
            raise InputError(f"slots: expected at least 1, found {slots}")
        self.metadata = meta = file.metadata
        self.sha256 = file.sha256
        self._observer: Observer = ignore
        session = open_session(file.data, threads=threads, provider=provider, name=str(file.path))
        self.providers = {"rtstgcn": session.provider}
        self._input = LastSeen((slots, meta.in_channels, meta.graph.num_node))
        self._x = self._input.values
        self._logits = np.zeros((slots, len(meta.labels)), np.float32)
        self._t = 0  # steps since the start or the last reset of all
        self._born = np.zeros(slots, np.int64)  # the step at which each slot was last reset
        try:
            # A graph may write the entering frame before it reads the leaving one: tried once, not assumed.
            if not self._bind(session, spare=0):
                self._bind(session, spare=1)
        except ORT_ERRORS as error:
            raise InputError(f"{file.path}: the model does not run: {str(error).splitlines()[0][:200]}") from None
        if not np.isfinite(self._logits).all():
            raise InputError(f"{file.path}: computes no finite number from random input; the file is damaged")
        self.reset()
        self._observer = observer or ignore

    def _bind(self, session: Session, *, spare: int) -> bool:
        """Lay out the state, run one step on random numbers in place, and say whether the sums came out right."""
        meta = self.metadata
        slots = len(self._x)
        self._binding = Binding(session)
        self._binding.bind_input("x", tensor(self._x))
        self._binding.bind_output("logits", tensor(self._logits))
        self._layers = [
            LayerState(i, layer, slots, meta.graph.num_node, spare=spare) for i, layer in enumerate(meta.layers)
        ]
        self._windows = [layer.window for layer in self._layers if layer.window is not None]
        sliding = [
            (layer.ring, layer.sums) for layer in self._layers if layer.ring is not None and layer.sums is not None
        ]
        random = np.random.default_rng(0)
        self._x[:] = random.standard_normal(self._x.shape)
        for ring, sums in sliding:
            ring.data[:] = random.standard_normal(ring.data.shape)
            sums.data[:] = random.standard_normal(sums.data.shape)
        expected = [sums.data[0, 0] - ring.data[spare % len(ring.data)] for ring, sums in sliding]
        self._run(t=0)
        return all(
            np.allclose(sums.data[0, 0], kept + ring.data[0], rtol=1e-3, atol=1e-3)
            for (ring, sums), kept in zip(sliding, expected, strict=True)
        )

    def _run(self, t: int) -> None:
        for layer in self._layers:
            layer.bind(self._binding, t)
        run_stage(self._binding, "rtstgcn", self._observer)
        for window in self._windows:
            window.settle(t)

    def __len__(self) -> int:
        return len(self._x)

    @property
    def state_bytes(self) -> int:
        """Bytes of all slots' rings and sums, as allocated."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def warm(self) -> npt.NDArray[np.bool_]:
        """For each slot ``(N,)``: whether its receptive field holds only frames since its reset."""
        return self._t - self._born >= self.receptive_field

    def step(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """One step of every slot.

        Args:
            x: ``(N, C, V)``, raw units (normalisation lives in the model); gaps as in ``missing.LastSeen``.

        Returns:
            Logits ``(N, classes)``, the caller's own.

        Raises:
            InputError: another shape.
        """
        if x.shape != self._x.shape:
            raise InputError(f"x: expected shape {self._x.shape} (N, C, V), found {x.shape}")
        self._input.take(x)
        self._run(self._t)
        self._t += 1
        return self._logits.copy()

    def steps(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Buffered mode: ``(L, N, C, V)``, L any number at every call -> logits ``(L, N, classes)``, as L steps."""
        logits = np.empty((len(x), *self._logits.shape), np.float32)
        for t, frame in enumerate(x):
            logits[t] = self.step(frame)
        return logits

    def reset(self, slot: int | None = None) -> None:
        """Begin one slot anew, or all: between trials, after a gap, when somebody else takes the slot."""
        for layer in self._layers:
            layer.clear(slot)
        if slot is None:
            self._t = 0
            self._x[:] = 0
            self._born[:] = 0
        else:
            self._x[slot] = 0
            self._born[slot] = self._t


class RtStgcnStream(_GraphStream):
    """One stream: ``step(x)`` takes ``(C, V)`` and gives ``(classes,)``. Arguments and errors as ``RtStgcnBatch``."""

    def __init__(
        self,
        model: str | Path | ModelFile,
        *,
        threads: int = 1,
        provider: str = "cpu",
        observer: Observer | None = None,
    ) -> None:
        self._batch = RtStgcnBatch(model, 1, threads=threads, provider=provider, observer=observer)
        self.metadata = self._batch.metadata
        self.sha256 = self._batch.sha256
        self.providers = self._batch.providers

    @property
    def state_bytes(self) -> int:
        """Bytes of the rings and sums, as allocated."""
        return self._batch.state_bytes

    @property
    def warm(self) -> bool:
        """Whether the receptive field holds only frames since the last reset: no result counts before."""
        return bool(self._batch.warm[0])

    def step(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """One step: ``(C, V)`` in raw units -> logits ``(classes,)``, the caller's own."""
        logits: npt.NDArray[np.float32] = self._batch.step(x[np.newaxis])[0]
        return logits

    def steps(self, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Buffered mode: ``(L, C, V)``, L any number at every call -> logits ``(L, classes)``, as L steps."""
        return self._batch.steps(x[:, np.newaxis])[:, 0]

    def reset(self) -> None:
        """Begin anew: between trials, after a gap."""
        self._batch.reset()
