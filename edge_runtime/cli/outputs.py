"""The output options of ``edge-run``, and the sinks that they mean."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.cli.watch import Watching, WatchOptions
from edge_runtime.errors import EdgeError, InputError
from edge_runtime.redaction import redact

if TYPE_CHECKING:
    from edge_runtime.pipeline.accounting import Account
    from edge_runtime.pipeline.monitor import StageMonitor
    from edge_runtime.pipeline.timing import StageTimes
    from edge_runtime.sinks.base import Sink
    from edge_runtime.sources.base import SourceInfo


def add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--out", metavar="FILE|-", help="events as JSON lines; - is standard output")
    group.add_argument("--record", metavar="OUT.mp4", type=Path, help="the video with the results drawn in")
    group.add_argument("--clips", metavar="DIR", type=Path, help="a short video of every action, as it ends")
    group.add_argument("--clip-labels", metavar="A,B", help="of these actions only")
    group.add_argument("--report", metavar="DIR", type=Path, help="report.json and report.html of the run's latencies")
    group.add_argument("--trace", metavar="FILE.json", type=Path, help="every stage of every frame, for Perfetto")


@dataclass(frozen=True, slots=True)
class Run:
    """What outputs may show of a run."""

    info: SourceInfo
    labels: Sequence[str]
    account: Account
    monitor: StageMonitor
    times: StageTimes


def open_sinks(options: argparse.Namespace, run: Run, watch: WatchOptions) -> Watching:
    """The terminal and every output asked for, and who knows how the run is doing.

    Raises:
        InputError: one of them cannot be written; those opened before it are closed and leave nothing behind.
    """
    _keep_inputs(options)
    sinks: list[Sink] = []
    try:
        _open_files(options, run, sinks)
        watching = watch.open(run.monitor, run.account)
    except EdgeError:
        for sink in sinks:
            sink.close()
        raise
    return replace(watching, sinks=[*sinks, *watching.sinks])


def _open_files(options: argparse.Namespace, run: Run, sinks: list[Sink]) -> None:
    # each is imported where it is wanted: a run that writes no report loads no page maker
    from edge_runtime.sinks.terminal import Terminal

    sinks.append(Terminal(label=getattr(options, "name", None)))
    if options.record:
        from edge_runtime.sinks.record import Recorder

        sinks.append(Recorder(options.record, run.info))
    if options.clips:
        from edge_runtime.sinks.clips import Clips

        sinks.append(Clips(options.clips, run.info, _clip_labels(options.clip_labels, run.labels)))
    elif options.clip_labels:
        raise InputError("--clip-labels says which actions --clips DIR keeps; give that too")
    if options.report:
        from edge_runtime.report.sink import ReportSink

        command = redact(shlex.join(["edge-run", *sys.argv[1:]]))
        report = ReportSink(run.monitor, folder=options.report, command=command)
        report.frames = run.account.snapshot
        sinks.append(report)
    if options.trace:
        from edge_runtime.report.trace import Trace

        sinks.append(Trace(options.trace, run.times))
    if options.out:
        from edge_runtime.sinks.jsonl import JsonLines

        sinks.append(JsonLines(options.out, lasting=run.info.live))


def _keep_inputs(options: argparse.Namespace) -> None:
    """Refuse to write over the recording that is read: it would be gone before it was seen."""
    for output in ("out", "record", "trace"):
        for source in ("video", "skeleton"):
            written, read = getattr(options, output), getattr(options, source)
            if written and read and Path(written).exists() and Path(read).exists() and Path(written).samefile(read):
                raise InputError(f"--{output} {written}: is what --{source} reads; name another file")


def _clip_labels(text: str | None, known: Sequence[str]) -> list[str]:
    labels = [label.strip() for label in text.split(",")] if text else []
    for label in labels:
        if label not in known:
            raise InputError(f"--clip-labels: no action is called '{label}'; this model knows {', '.join(known)}")
    return labels
