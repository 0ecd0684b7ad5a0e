"""Frames on their way from the hand-over to the networks, in lanes where these have some (`streams.lanes`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.clock import Clock, system_clock
from edge_runtime.pipeline.handover import Handover
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sources.base import Frame
from edge_runtime.streams.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a frame before its turn."""

    by: object  # the network that saw it
    fmap: Any
    passes: tuple[tuple[str, int, int], ...]  # the stages that ran: name, start and end in ns


Look = Callable[[Frame], Seen]


class Looker:
    """Resizes and encodes; a lane has one to itself."""

    def __init__(
        self,
        by: object,
        preprocess: Preprocessor,
        encode: Callable[[npt.NDArray[np.uint8]], Any],
        clock: Clock = system_clock,
    ) -> None:
        self._by = by
        self._preprocess = preprocess
        self._encode = encode
        self._clock = clock

    def __call__(self, frame: Frame) -> Seen:
        begun = self._clock()
        rgb = self._preprocess(frame.data)
        resized = self._clock()
        fmap = self._encode(rgb)
        return Seen(
            self._by,
            fmap,
            (
                ("capture", frame.captured_ns, begun),
                ("preprocess", begun, resized),
                ("imfe.encoder", resized, self._clock()),
            ),
        )


class Incoming:
    """The frames of a hand-over, each with what a lane has seen of it, or None where there are no lanes."""

    def __init__(self, handover: Handover, looks: Sequence[Callable[[Frame], Seen | None]], account: Account) -> None:
        self._handover = handover
        self._account = account
        self._lanes = Lanes(handover.take, lambda: handover.over, looks) if looks else None

    def take(self) -> tuple[Frame, Future[Seen | None] | None] | None:
        """The next frame; None when there is none for the moment, or none will come."""
        if self._lanes is not None:
            return self._lanes.take()
        frame = self._handover.take()
        return None if frame is None else (frame, None)

    @property
    def over(self) -> bool:
        """No more frames will come, and every one was taken."""
        return self._handover.over if self._lanes is None else self._lanes.over

    def abandon(self) -> None:
        """Close, and drop what is waiting as ``stopped``."""
        self._handover.abandon()
        for _ in self._lanes.abandon() if self._lanes is not None else ():
            self._account.dropped("stopped")
