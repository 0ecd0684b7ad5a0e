"""A third party's clip model behind the interface of ``ImfeStream``: right, but a whole clip is computed every hop."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.file import ModelFile
from edge_runtime.models.session import ORT_ERRORS, Binding, open_session, tensor
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.imfe import ImfeOutput
from edge_runtime.streams.observer import Observer, ignore, run_stage

log = logging.getLogger(__name__)


class ClipStream:
    """Frames in, one at a time; the clip model's feature of the last ``clip_length`` frames out, every ``hop``.

    Arguments, outputs and errors as ``ImfeStream``; ``regions`` is the feature as a single region ``(D, 1)``.
    """

    def __init__(
        self,
        model: str | Path | ModelFile,
        *,
        hop: int | None = None,
        threads: int = 1,
        provider: str = "cpu",
        spin: bool = False,
        observer: Observer | None = None,
    ) -> None:
        file = model if isinstance(model, ModelFile) else open_model(model)
        meta = file.metadata
        if not isinstance(meta, ClipMetadata):
            raise InputError(f"{file.path}: expected a clip model, found a model of kind '{meta.kind}'")
        self.metadata = meta
        self.sha256 = file.sha256
        self.hop = meta.clip_length if hop is None else hop
        self._observer = observer or ignore
        self._seen = 0  # frames since the start or the last reset
        self._since_output = 0
        session = open_session(file.data, threads=threads, provider=provider, spin=spin, name=str(file.path))
        self.providers = {"imfe.clip": session.provider}
        # The frame at time t lies at t % clip_length; a clip is put in order when it is due.
        self._ring = np.zeros((meta.clip_length, 3, meta.height, meta.width), np.float32)
        self._clip = np.zeros((1, *self._ring.shape), np.float32)
        self._feature = np.zeros((1, meta.feature_dim), np.float32)
        self._mean = np.array(meta.mean, np.float32).reshape(3, 1, 1)
        self._scale = 1 / np.array(meta.std, np.float32).reshape(3, 1, 1)
        self._binding = Binding(session)
        self._binding.bind_input(meta.input_name, tensor(self._clip))
        self._binding.bind_output(meta.output_name, tensor(self._feature))
        self.reset()
        try:
            self._binding.run()
        except ORT_ERRORS as error:
            raise InputError(f"{file.path}: the model does not run: {str(error).splitlines()[0][:200]}") from None
        log.warning(
            "%s is a clip model: all %d frames are computed anew every hop; the same network exported with "
            "'trainer imfe export' streams, which is several times faster",
            file.path,
            meta.clip_length,
        )

    @property
    def hop(self) -> int:
        """Frames between outputs; may be set while running."""
        return self._hop

    @hop.setter
    def hop(self, hop: int) -> None:
        if not 1 <= hop <= self.metadata.clip_length:
            raise InputError(f"hop: expected 1 to {self.metadata.clip_length}, found {hop}")
        self._hop = hop

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return self.metadata.receptive_field

    @property
    def warm(self) -> bool:
        """Whether a whole clip has been seen since the start or the last reset; there is no output before."""
        return self._seen >= self.metadata.clip_length

    def step(self, frame: npt.NDArray[np.uint8]) -> ImfeOutput | None:
        """Take one uint8 RGB frame ``(height, width, 3)``; see ``ImfeStream.step``."""
        meta = self.metadata
        if frame.shape != (meta.height, meta.width, 3) or frame.dtype != np.uint8:
            raise InputError(
                f"frame: expected uint8 {(meta.height, meta.width, 3)}, found {frame.dtype} {frame.shape}; "
                "resize it first"
            )
        slot = self._ring[self._seen % meta.clip_length]
        np.subtract(frame.transpose(2, 0, 1), self._mean, out=slot)
        np.multiply(slot, self._scale, out=slot)
        self._seen += 1
        self._since_output += 1
        if not self.warm or self._since_output < self._hop:
            return None
        self._since_output = 0
        oldest = self._seen % meta.clip_length
        self._clip[0, : meta.clip_length - oldest] = self._ring[oldest:]
        self._clip[0, meta.clip_length - oldest :] = self._ring[:oldest]
        run_stage(self._binding, "imfe.clip", self._observer)
        feature = self._feature[0].copy()
        return ImfeOutput(feature, feature[:, np.newaxis])

    def reset(self) -> None:
        """Forget every frame: after a gap, or between recordings."""
        self._seen = 0
        self._since_output = self.metadata.clip_length

    def close(self) -> None:
        """Nothing is held but memory; here so that streams are used alike."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
