"""A third party's clip model behind the interface of ``ImfeStream``: right, but a whole clip is computed every hop."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.file import ModelFile
from edge_runtime.models.session import ORT_ERRORS, Binding, open_session, tensor
from edge_runtime.models.zoo import open_model
from edge_runtime.streams.motion import ImfeOutput, MotionStream
from edge_runtime.streams.observer import Observer, ignore, run_stage

log = logging.getLogger(__name__)


class ClipStream(MotionStream[ClipMetadata]):
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
        super().__init__(meta, file.sha256, hop)
        self._observer = observer or ignore
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

    def step(self, frame: npt.NDArray[np.uint8]) -> ImfeOutput | None:
        """Take one uint8 RGB frame ``(height, width, 3)``; see ``ImfeStream.step``."""
        self._check(frame)
        length = self.metadata.clip_length
        slot = self._ring[self._seen % length]
        np.subtract(frame.transpose(2, 0, 1), self._mean, out=slot)
        np.multiply(slot, self._scale, out=slot)
        self._seen += 1
        self._since_output += 1
        if not self.warm or self._since_output < self._hop:
            return None
        self._since_output = 0
        oldest = self._seen % length
        self._clip[0, : length - oldest] = self._ring[oldest:]
        self._clip[0, length - oldest :] = self._ring[:oldest]
        run_stage(self._binding, "imfe.clip", self._observer)
        feature = self._feature[0].copy()
        return ImfeOutput(feature, feature[:, np.newaxis])
