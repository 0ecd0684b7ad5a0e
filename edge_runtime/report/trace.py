"""``--trace FILE.json``: every stage and queue of every frame, to be opened in Perfetto or chrome://tracing.

::

    capture   [=frame 4=][==frame 5==]        a frame from its timestamp until the network takes it
    network        [pre|encoder|motion|head|rtstgcn]      the stages of one frame, one after another
    sinks                                          [==]   a result from being known until its outputs have it
    capture_to_result   [=========================]

``Trace`` is two things. As a watcher of the stage times it gathers, on whatever thread they are delivered; as a sink it
has them delivered and writes them, on its own thread, so that no disk is waited for where frames are.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from edge_runtime.errors import InputError
from edge_runtime.events import Event, Fault, Features, Result, Start
from edge_runtime.pipeline.timing import Passes, StageTimes

# Spans that wait for the sink's thread, some minutes of them: beyond, the oldest are left out and counted.
_MOST_WAITING = 100_000
_PROCESS = 1
_NETWORK_THREAD = 1
# In these, frames overlap: they are shown side by side instead of nested.
_OVERLAPPING = {"capture": "queue to the network", "sinks": "queues to outputs", "capture_to_result": "whole"}


class Trace:
    """Chrome's trace event format, an array of objects; times in microseconds of the monotonic clock.

    Raises:
        InputError: ``path`` cannot be written.
    """

    name = "trace"

    def __init__(self, path: Path, times: StageTimes) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--trace {path}: {error.strerror}; name a file that can be written") from error
        self._spans: deque[tuple[str, int, int, int]] = deque(maxlen=_MOST_WAITING)
        self._seen = 0  # spans
        self._written = 0
        self._last_us = 0.0
        self._separator = "[\n"
        self._write({"name": "process_name", "ph": "M", "args": {"name": "edge_runtime"}})
        self._write({"name": "thread_name", "ph": "M", "tid": _NETWORK_THREAD, "args": {"name": "network"}})
        self._times = times
        times.watch(self._gather)

    def _gather(self, found: Mapping[str, Passes]) -> None:
        for stage, passes in found.items():
            spans = zip(passes.starts.tolist(), passes.ends.tolist(), passes.frames.tolist(), strict=True)
            self._spans.extend((stage, *span) for span in spans)
            self._seen += len(passes.frames)

    def emit(self, event: Event) -> None:
        """Write the stages gathered so far, then the event as a mark at the time at which the last of them ended."""
        self._write_spans()
        if isinstance(event, Start):
            self._write({"name": "process_labels", "ph": "M", "args": {"labels": event.source}})
        elif isinstance(event, Result | Features | Fault):
            self._write_mark(event)

    def close(self) -> None:
        self._write_spans()
        left_out = self._seen - self._written
        if left_out:
            self._write({"name": f"{left_out} spans left out", "ph": "i", "ts": self._last_us, "s": "g"})
        self._file.write("\n]\n")
        self._file.close()

    def _write_spans(self) -> None:
        self._times.deliver()
        while self._spans:
            stage, start_ns, end_ns, frame = self._spans.popleft()
            self._written += 1
            self._last_us = max(self._last_us, end_ns / 1e3)
            if stage in _OVERLAPPING:
                same = {"name": stage, "cat": _OVERLAPPING[stage], "id": frame, "args": {"frame": frame}}
                self._write({**same, "ph": "b", "ts": start_ns / 1e3})
                self._write({**same, "ph": "e", "ts": end_ns / 1e3})
            else:
                span = {"name": stage, "ph": "X", "ts": start_ns / 1e3, "dur": (end_ns - start_ns) / 1e3}
                self._write({**span, "tid": _NETWORK_THREAD, "args": {"frame": frame}})

    def _write_mark(self, event: Result | Features | Fault) -> None:
        name: str
        args: dict[str, Any]
        if isinstance(event, Result):
            name, args = event.label, {"frame": event.frame, "score": float(event.score)}
        elif isinstance(event, Features):
            name, args = "features", {"frame": event.frame}
        else:
            name, args = event.kind, {key: str(value) for key, value in event.detail.items()}
        self._write({"name": name, "cat": event.event, "ph": "i", "s": "p", "ts": self._last_us, "args": args})

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps({"pid": _PROCESS, "tid": 0, **entry}))
        self._separator = ",\n"
