"""The head at the end of the line: the moments its opinions speak of, and its own sense of time.

A step's opinion speaks of the moment it was fed with, minus the network's delay (its residual waits for frames):

    step          0    1    2    3    4   (end)
    fed           x0   x1   x2   x3   x4   x4   x4      the last input again, until every step has its opinion
    delay 2       -    -    o0   o1   o2   o3   o4
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.streams import LstrStream

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a network thinks of the moment ``t``: probabilities ``(classes,)``, or with no head its feature ``(D,)``."""

    frame: int
    t: float
    scores: Floats | None
    features: Floats | None = None
    warm: bool = True
    body: int | None = None


class Gcn(Protocol):
    """What is needed of `streams.RtStgcnBatch`: as many states as there are bodies, stepped together."""

    @property
    def delay(self) -> int: ...

    @property
    def warm(self) -> npt.NDArray[np.bool_]: ...

    def __len__(self) -> int: ...

    def step(self, x: Floats) -> Floats: ...

    def reset(self, slot: int | None = None) -> None: ...


class Alone:
    """A stream that knows no others, as a batch of one."""

    def __init__(self, stream: LstrStream) -> None:
        self._stream = stream

    @property
    def delay(self) -> int:
        return self._stream.delay

    @property
    def warm(self) -> npt.NDArray[np.bool_]:
        return np.array([self._stream.warm])

    def __len__(self) -> int:
        return 1

    def step(self, x: Floats) -> Floats:
        return self._stream.step(x[0])[np.newaxis]

    def reset(self, slot: int | None = None) -> None:
        self._stream.reset()


Moment = tuple[int, float]
"""Index of a frame and its time, seconds."""


class Head:
    """A graph network, and the moments that its opinions to come will speak of, for each body."""

    def __init__(self, gcn: Gcn) -> None:
        self._gcn = gcn
        self._owed = [self._nothing_owed() for _ in range(len(gcn))]

    def _nothing_owed(self) -> deque[Moment | None]:
        return deque([None] * self._gcn.delay)  # the first outputs speak of a time before the stream

    def step(self, x: Floats, moments: Sequence[Moment | None]) -> list[Opinion]:
        """``x`` (bodies, C, V) and the moment it shows, for each body; None for one that is not there."""
        logits = self._gcn.step(x)
        warm = self._gcn.warm
        opinions: list[Opinion] = []
        for body, (owed, moment) in enumerate(zip(self._owed, moments, strict=True)):
            owed.append(moment)
            spoken_of = owed.popleft()
            if spoken_of is not None:
                which = body if len(self._owed) > 1 else None
                opinions.append(Opinion(*spoken_of, softmax(logits[body]), warm=bool(warm[body]), body=which))
        return opinions

    def flush(self, shape: tuple[int, int]) -> list[Opinion]:
        """What is still owed; the network holds the last input where it is given NaN."""
        unknown = np.full((len(self._owed), *shape), np.nan, np.float32)
        nobody = [None] * len(self._owed)
        return [opinion for _ in range(self._gcn.delay) for opinion in self.step(unknown, nobody)]

    def reset(self, body: int | None = None) -> None:
        """Forget one body, or all."""
        self._gcn.reset(body)
        for i in range(len(self._owed)) if body is None else (body,):
            self._owed[i] = self._nothing_owed()


class RegionHead:
    """A network over clips that come every ``hop`` frames, kept at the rate it was trained at.

    It learned clips ``period`` frames apart, and would see any other spacing as fast or slow motion:

        hop = period    one step a clip
        hop < period    period / hop networks take turns, so that each sees clips a period apart
        hop > period    each clip is given hop / period times: for the network a second stays a second
    """

    def __init__(self, gcns: Sequence[Gcn], shape: tuple[int, int], period: int) -> None:
        """``gcns``: as many states of one network as take turns; ``shape``: (D, V) of a clip's regions."""
        self._heads = [Head(gcn) for gcn in gcns]
        self._shape = shape
        self._period = period
        self.run_at(period)

    def run_at(self, hop: int) -> None:
        self._taking_turns = min(len(self._heads), max(1, self._period // hop))
        self._steps = max(1, hop // self._period)
        self._turn = 0
        for idle in self._heads[self._taking_turns :]:
            idle.reset()

    def step(self, regions: Floats, moment: Moment) -> list[Opinion]:
        """``regions`` (D, V) of the clip that ends at ``moment``."""
        head = self._heads[self._turn]
        self._turn = (self._turn + 1) % self._taking_turns
        repeats = [opinion for _ in range(self._steps - 1) for opinion in head.step(regions[np.newaxis], [None])]
        return repeats + head.step(regions[np.newaxis], [moment])

    def flush(self) -> list[Opinion]:
        owed = [opinion for head in self._heads for opinion in head.flush(self._shape)]
        return sorted(owed, key=lambda opinion: opinion.frame)

    def reset(self) -> None:
        self._turn = 0
        for head in self._heads:
            head.reset()


def softmax(logits: Floats) -> Floats:
    """Logits (classes,) as probabilities.

    Raises:
        InputError: they are not numbers.
    """
    if not np.isfinite(logits).all():
        raise InputError("the model computes NaN or infinity from this input; check the input's units, or the model")
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum(), np.float32)
