"""From frames to opinions: the networks, their states, and the moment that each opinion speaks of.

An IMFE clip's opinion speaks of the clip's last frame, a graph network's step of the frame it was fed with, minus the
network's own delay (its residual waits for frames to come):

    step          0    1    2    3    4   (end)
    fed           x0   x1   x2   x3   x4   x4   x4      the last input again, until every step has its opinion
    delay 2       -    -    o0   o1   o2   o3   o4
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Features, Result
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.metadata import ImfeMetadata, RtStgcnMetadata
from edge_runtime.pipeline.clock import Clock
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sources.base import Frame
from edge_runtime.streams.observer import Observer

Floats = npt.NDArray[np.float32]
TOP = 5


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a network thinks of the moment ``t``: probabilities ``(classes,)``, or with no head its feature ``(D,)``."""

    frame: int
    t: float
    scores: Floats | None
    features: Floats | None = None
    warm: bool = True
    body: int | None = None


class Recogniser(Protocol):
    """Frames in, opinions out; one step a frame that was chosen by `sampling`."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def background(self) -> str | None: ...

    @property
    def fps(self) -> float:
        """Frames a second that the network was trained at."""
        ...

    @property
    def hop(self) -> int:
        """Frames from one opinion to the next."""
        ...

    @property
    def clip_length(self) -> int:
        """Frames that must follow each other to make one input of the graph network."""
        ...

    def run_at(self, hop: int) -> None:
        """Give an opinion every ``hop`` frames from now on, as near to it as the model allows."""
        ...

    def skip(self) -> None:
        """A frame was left out on purpose, between two clips: the next frame begins a new clip."""
        ...

    def step(self, frame: Frame) -> list[Opinion]:
        """Raises InputError when the frame is not what the network takes."""
        ...

    def flush(self) -> list[Opinion]:
        """The opinions that a delayed network still owes, at the end of a stream."""
        ...

    def reset(self) -> None:
        """Forget everything: after a gap the past is not the past of what comes."""
        ...


class Imfe(Protocol):
    """What is needed of `streams.ImfeStream` and `streams.ClipStream`."""

    hop: int

    @property
    def receptive_field(self) -> int: ...

    def step(self, frame: npt.NDArray[np.uint8]) -> Any: ...

    def reset(self) -> None: ...


class Gcn(Protocol):
    """What is needed of `streams.RtStgcnBatch`: as many states as there are bodies, stepped together."""

    @property
    def delay(self) -> int: ...

    @property
    def warm(self) -> npt.NDArray[np.bool_]: ...

    def __len__(self) -> int: ...

    def step(self, x: Floats) -> Floats: ...

    def reset(self, slot: int | None = None) -> None: ...


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


class PictureRecogniser:
    """Pictures -> IMFE -> graph network on its regions, or the bare feature where there is no head."""

    def __init__(
        self,
        imfe: Imfe,
        metadata: ImfeMetadata | ClipMetadata,
        head: tuple[Gcn, RtStgcnMetadata] | None,
        *,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self.fps = metadata.fps
        self.labels: tuple[str, ...] = head[1].labels if head else ()
        self.background = head[1].background if head else None
        self._imfe = imfe
        self._hops = metadata.hops
        self._asked_hop = imfe.hop
        self._steps = 1  # of the graph network for one clip
        self._head = Head(head[0]) if head else None
        self._shape = (metadata.feature_dim, metadata.region_grid[0] * metadata.region_grid[1])
        self._preprocess = Preprocessor(metadata.height, metadata.width)
        self._observe = observe
        self._clock = clock

    @property
    def hop(self) -> int:
        return self._imfe.hop

    @property
    def clip_length(self) -> int:
        return self._imfe.receptive_field

    def run_at(self, hop: int) -> None:
        possible = [own for own in self._hops if own <= hop]
        self._imfe.hop = max(possible, default=self._imfe.hop)
        # The graph network learned at one step per hop asked for: with a longer hop each clip is given as often as
        # it takes for a second to stay a second.
        self._steps = max(1, hop // self._asked_hop)

    def skip(self) -> None:
        self._imfe.reset()

    def step(self, frame: Frame) -> list[Opinion]:
        begun = self._clock()
        rgb = self._preprocess(frame.data)
        self._observe("preprocess", begun, self._clock())
        out = self._imfe.step(rgb)
        if out is None:
            return []
        if self._head is None:
            return [Opinion(frame.index, frame.t, None, out.features)]
        opinions: list[Opinion] = []
        for _ in range(self._steps):
            opinions = self._head.step(out.regions[np.newaxis], [(frame.index, frame.t)])
        return opinions

    def flush(self) -> list[Opinion]:
        return self._head.flush(self._shape) if self._head else []

    def reset(self) -> None:
        self._imfe.reset()
        if self._head:
            self._head.reset()


# A body that a tracker loses for a moment keeps its state (its joints are held); after this long it is gone, and
# whoever takes its place starts anew.
ABSENT_S = 0.5


class SkeletonRecogniser:
    """Joints or sensors -> graph network; each body of the scene has its own state and its own opinions.

    Where there are several, a body is absent while all its values are zero or NaN (the datasets' padding). It has no
    opinions before it first appears, nor once it was absent for `ABSENT_S`.
    """

    hop = 1
    clip_length = 1

    def __init__(self, make_gcn: Callable[[int], Gcn], metadata: RtStgcnMetadata) -> None:
        """``make_gcn(bodies)`` opens the network with that many states."""
        self.fps = metadata.fps
        self.labels = metadata.labels
        self.background = metadata.background
        self._make_gcn = make_gcn
        self._shape = (metadata.in_channels, metadata.graph.num_node)
        self._bodies = 1
        self._head = Head(make_gcn(1))  # opened now, so that a model that cannot run is refused before the run
        self._seen_at: dict[int, float] = {}

    def run_at(self, hop: int) -> None:
        """Every sample is one step; there is nothing to lengthen."""

    def skip(self) -> None:
        """Never asked for: a sample is no part of a longer clip."""

    def step(self, frame: Frame) -> list[Opinion]:
        x = np.asarray(frame.data, np.float32)
        if x.ndim not in (2, 3) or x.shape[:2] != self._shape:
            raise InputError(
                f"skeleton sample {frame.index}: the model takes (channels, nodes) = {self._shape}, found "
                f"{x.shape[:2]}; give the layout (C, L, V[, M]) that it was trained on"
            )
        x = np.ascontiguousarray(x.reshape(*self._shape, -1).transpose(2, 0, 1))  # (M, C, V)
        if len(x) != self._bodies:
            self._bodies = len(x)
            self._head = Head(self._make_gcn(self._bodies))
        if self._bodies == 1:
            return self._head.step(x, [(frame.index, frame.t)])
        there = [self._follow(body, x[body], frame.t) for body in range(self._bodies)]
        return self._head.step(x, [(frame.index, frame.t) if present else None for present in there])

    def _follow(self, body: int, x: Floats, t: float) -> bool:
        """Whether a body is there; what is unknown of it becomes NaN, which the network holds."""
        if np.any(np.nan_to_num(x)):
            if body not in self._seen_at:
                self._head.reset(body)
            self._seen_at[body] = t
            return True
        x[:] = np.nan
        if t - self._seen_at.get(body, -np.inf) <= ABSENT_S:
            return True
        self._seen_at.pop(body, None)
        return False

    def flush(self) -> list[Opinion]:
        return self._head.flush(self._shape)

    def reset(self) -> None:
        self._seen_at.clear()
        self._head.reset()


def event_of(opinion: Opinion, labels: Sequence[str], latency_ms: float) -> Result | Features:
    """The event that tells of an opinion, known ``latency_ms`` after the last frame that it needed was captured."""
    if opinion.scores is None:
        assert opinion.features is not None
        return Features(opinion.frame, opinion.t, tuple(opinion.features.tolist()), latency_ms)
    best = np.argsort(-opinion.scores, kind="stable")[:TOP]
    top = tuple((labels[i], round(float(opinion.scores[i]), 6)) for i in best)
    label, score = top[0]
    return Result(opinion.frame, opinion.t, label, score, top, opinion.warm, latency_ms, opinion.body)


def softmax(logits: Floats) -> Floats:
    """Logits (classes,) as probabilities.

    Raises:
        InputError: they are not numbers.
    """
    if not np.isfinite(logits).all():
        raise InputError("the model computes NaN or infinity from this input; check the input's units, or the model")
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum(), np.float32)
