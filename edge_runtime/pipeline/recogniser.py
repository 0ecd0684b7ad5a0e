"""From frames to opinions: which networks see what, and when they must forget.

An IMFE clip's opinion speaks of the clip's last frame, a graph network's of what `head` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Features, Result
from edge_runtime.models.clip import ClipMetadata
from edge_runtime.models.metadata import HeadMetadata, ImfeMetadata, RtStgcnMetadata
from edge_runtime.pipeline.head import Floats, Gcn, Head, Opinion, RegionHead
from edge_runtime.pipeline.lookahead import Look, Looker, Seen
from edge_runtime.preprocess import Preprocessor
from edge_runtime.sources.base import Frame
from edge_runtime.streams import ImfeOutput, ImfeStream
from edge_runtime.streams.observer import Observer

TOP = 5


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

    @property
    def lookers(self) -> Sequence[Look]:
        """Ways to see a frame before its turn, each for a thread of its own; none where one at a time is best."""
        ...

    def step(self, frame: Frame) -> list[Opinion]:
        """Raises InputError when the frame is not what the network takes."""
        ...

    def follow(self, frame: Frame, seen: Seen) -> list[Opinion]:
        """As ``step``, of a frame that was seen by a looker."""
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


class PictureRecogniser:
    """Pictures -> IMFE -> head on its regions, or the bare feature where there is no head."""

    def __init__(
        self,
        imfe: Imfe,
        metadata: ImfeMetadata | ClipMetadata,
        head: tuple[RegionHead, HeadMetadata] | None,
        *,
        observe: Observer,
    ) -> None:
        self.fps = metadata.fps
        self.labels: tuple[str, ...] = head[1].labels if head else ()
        self.background = head[1].background if head else None
        self._imfe = imfe
        self._hops = metadata.hops
        self._head = head[0] if head else None
        self._preprocess = Preprocessor(metadata.height, metadata.width)
        self._observe = observe
        self.lookers: Sequence[Look] = [
            Looker(imfe, Preprocessor(metadata.height, metadata.width), encode)
            for encode in (imfe.encoders if isinstance(imfe, ImfeStream) else ())
        ]

    @property
    def hop(self) -> int:
        return self._imfe.hop

    @property
    def clip_length(self) -> int:
        return self._imfe.receptive_field

    def run_at(self, hop: int) -> None:
        possible = [own for own in self._hops if own <= hop]
        self._imfe.hop = max(possible, default=self._imfe.hop)
        if self._head:
            self._head.run_at(hop)

    def skip(self) -> None:
        self._imfe.reset()

    def step(self, frame: Frame) -> list[Opinion]:
        rgb = self._preprocess(frame.data)
        self._observe("preprocess")
        return self._opinions(frame, self._imfe.step(rgb))

    def follow(self, frame: Frame, seen: Seen) -> list[Opinion]:
        if not isinstance(self._imfe, ImfeStream) or seen.by is not self._imfe:  # a model that has been replaced
            return self.step(frame)
        return self._opinions(frame, self._imfe.follow(seen.fmap))

    def _opinions(self, frame: Frame, out: ImfeOutput | None) -> list[Opinion]:
        if out is None:
            return []
        if self._head is None:
            return [Opinion(frame.index, frame.t, None, out.features)]
        return self._head.step(out.regions, (frame.index, frame.t))

    def flush(self) -> list[Opinion]:
        return self._head.flush() if self._head else []

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
    lookers: Sequence[Look] = ()  # a sample has nothing that could be done before its turn

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
        there = [self._track(body, x[body], frame.t) for body in range(self._bodies)]
        return self._head.step(x, [(frame.index, frame.t) if present else None for present in there])

    def follow(self, frame: Frame, seen: Seen) -> list[Opinion]:
        return self.step(frame)

    def _track(self, body: int, x: Floats, t: float) -> bool:
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
