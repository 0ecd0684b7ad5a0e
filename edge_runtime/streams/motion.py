"""What the two motion streams have in common: the size of a frame, and when the next output is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from edge_runtime.closing import Closeable
from edge_runtime.errors import InputError
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.metadata import ImfeMetadata

M = TypeVar("M", ImfeMetadata, ClipMetadata)


@dataclass(frozen=True, slots=True)
class ImfeOutput:
    """Motion of one clip. Both arrays are the caller's own: the stream never writes to them again."""

    features: npt.NDArray[np.float32]  # (D,)
    regions: npt.NDArray[np.float32]  # (D, V)


class MotionStream(Closeable, Generic[M]):
    """Frames in, one at a time; the motion of the last ``clip_length`` frames out, every ``hop``."""

    def __init__(self, metadata: M, sha256: str, hop: int | None) -> None:
        self.metadata: M = metadata
        self.sha256 = sha256
        self.hop = metadata.hops[0] if hop is None else hop
        self._seen = 0  # frames since the start or the last reset
        self._since_output = metadata.clip_length  # the first output waits for its clip only

    @property
    def hop(self) -> int:
        """Frames between outputs. May be set while running: no frame is lost, the next output comes ``hop`` frames
        after the last one, or as soon as the frames of its clip are there."""
        return self._hop

    @hop.setter
    def hop(self, hop: int) -> None:
        if hop not in self.metadata.hops:
            raise InputError(f"hop: expected one of {', '.join(map(str, self.metadata.hops))}, found {hop}")
        self._hop = hop

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return self.metadata.receptive_field

    @property
    def warm(self) -> bool:
        """Whether a whole clip has been seen since the start or the last reset; there is no output before."""
        return self._seen >= self.metadata.clip_length

    def reset(self) -> None:
        """Forget every frame: after a gap, or between recordings."""
        self._seen = 0
        self._since_output = self.metadata.clip_length

    def _check(self, frame: npt.NDArray[np.uint8]) -> None:
        """Raises InputError for anything but a uint8 frame of the model's size."""
        expected = (self.metadata.height, self.metadata.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise InputError(f"frame: expected uint8 {expected}, found {frame.dtype} {frame.shape}; resize it first")
