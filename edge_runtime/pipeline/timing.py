"""Where stage times pass on their way to whoever keeps them: the monitor always, a trace on request."""

from __future__ import annotations

from collections.abc import Callable

Watcher = Callable[[str, int, int, int], object]
"""Told of every stage that ran: its name, start and end (ns), and the index of the frame it ran for."""

# A third party's clip model has no parts; all of it is paid once a result, as the head is.
_RECORDED_AS = {"imfe.clip": "imfe.head"}


class StageTimes:
    """Called by the streams, which know no frame numbers, and by the pipeline, which sets ``frame`` before.

    Made before the networks are opened; watchers join when there are budgets to measure against.
    """

    def __init__(self) -> None:
        self.frame = 0
        self._watchers: tuple[Watcher, ...] = ()

    def watch(self, watcher: Watcher) -> None:
        self._watchers += (watcher,)

    def forget_watchers(self) -> None:
        """Those of a run that has ended."""
        self._watchers = ()

    def __call__(self, stage: str, start_ns: int, end_ns: int) -> None:
        self.tell(stage, start_ns, end_ns, self.frame)

    def tell(self, stage: str, start_ns: int, end_ns: int, frame: int) -> None:
        """For stages that run on another thread than the networks."""
        stage = _RECORDED_AS.get(stage, stage)
        for watcher in self._watchers:
            watcher(stage, start_ns, end_ns, frame)
