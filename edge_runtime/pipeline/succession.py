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
from dataclasses import dataclass, field, fields
from typing import Any

from edge_runtime.errors import InputError
from edge_runtime.memory import give_back
from edge_runtime.pipeline.assembly import Content
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.sources.base import Frame
from edge_runtime.streams.observer import Observer


class Muted:
    """An observer that passes nothing on before ``listening``: a stage's time is the model's whose result is told."""

    def __init__(self, observer: Observer) -> None:
        self.listening = False
        self._observer = observer

    def __call__(self, stage: str) -> None:
        if self.listening:
            self._observer(stage)


@dataclass(slots=True)
class Successor:
    """A recogniser that warms up. Made by any thread, used by the inference thread only."""

    recogniser: Recogniser
    models: Mapping[str, Any]  # what events say of it
    providers: Mapping[str, str]  # likewise, by stage
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


@dataclass(slots=True)
class Lineup:
    """Who answers, by role (``main``, ``fallback``), and what events say of them.

    It outlives a run: where a source was given up and is opened anew, those that answered last do so again.
    """

    recognisers: dict[str, Recogniser]
    models: Mapping[str, Any] = field(default_factory=dict)  # by role: file, sha256, …
    providers: Mapping[str, str] = field(default_factory=dict)  # what each stage really runs on
    successor: Successor | None = None  # to ``main``; any thread may offer one, and the last one counts

    def take_over(self, successor: Successor) -> None:
        """It is ``main`` from now on. The one before is gone, with its memory, unless the caller holds it."""
        successor.observer.listening = True
        self.recognisers["main"] = successor.recogniser
        # new mappings: the start event, which a slow sink has yet to write, holds the old ones
        self.models = _of_fallback(self.models) | dict(successor.models)
        self.providers = _of_fallback(self.providers) | dict(successor.providers)
        self.drop(successor)
        give_back()

    def drop(self, successor: Successor) -> None:
        """Unless another thread has offered a newer one meanwhile."""
        if self.successor is successor:
            self.successor = None


FALLBACK = "fallback "  # before the roles and stages of the fallback in what events say


def _of_fallback(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if key.startswith(FALLBACK)}


@dataclass(frozen=True, slots=True)
class Traits:
    """What a successor shares with the model that it follows, because the run was laid out for it."""

    input: Content
    frame_rate: float
    hop: int
    delay: int
    labels: tuple[str, ...]

    def check_same(self, other: Traits, name: str) -> None:
        """Raises InputError where ``other``, of the model ``name``, differs."""
        for trait in fields(self):
            wanted, found = getattr(self, trait.name), getattr(other, trait.name)
            if found != wanted:
                raise InputError(
                    f"model {name}: its {trait.name.replace('_', ' ')} must be the running model's, {wanted}; "
                    f"found {found}; restart to change it"
                )
