"""A new model takes over from the old one in a running pipeline: no gap, no result twice, no cold start.

    old   ─ ─ ● ─ ─ ● ─ ─ ● ─ ─ ● ─ ─ ●            ● an opinion (here hop 3)
    new             └─ ─ ─ ○ ─ ─ ○ ─ ─ ○ ─ ─ ● ─ ─ ●
              offered      cold         warm: takes over at the next hop

The new one sees the same frames beside the old, from the beginning of a hop, so that both answer at the same frames.
Its opinions are not told until its receptive field is full; then, between two hops, the old one is let go. It costs
both models' time for one receptive field. If it fails at a frame, it is dropped and the old one goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.sources.base import Frame
from edge_runtime.streams.observer import Observer


class Muted:
    """An observer that passes nothing on before ``listening``: a stage's time is the model's whose result is told."""

    def __init__(self, observer: Observer) -> None:
        self.listening = False
        self._observer = observer

    def __call__(self, stage: str, start_ns: int, end_ns: int) -> None:
        if self.listening:
            self._observer(stage, start_ns, end_ns)


@dataclass(slots=True)
class Successor:
    """A recogniser that warms up. Made by any thread, used by the inference thread only."""

    recogniser: Recogniser
    models: Mapping[str, Any]  # what events say of it
    observer: Muted
    _begun: bool = False

    def step(self, frame: Frame, hop_complete: bool) -> bool:
        """Show it a frame that the present recogniser has seen; True when it may take over after this one.

        ``hop_complete``: the present one has just given an opinion.
        """
        if not self._begun:
            self._begun = hop_complete  # so that its first frame is the first of a hop
            return False
        opinions = self.recogniser.step(frame)
        return hop_complete and any(opinion.warm for opinion in opinions)

    def skip(self) -> None:
        """The present one was not shown a frame, on purpose."""
        if self._begun:
            self.recogniser.skip()

    def reset(self) -> None:
        """Begin anew: there was a gap, or the hop has changed."""
        if self._begun:
            self._begun = False
            self.recogniser.reset()
