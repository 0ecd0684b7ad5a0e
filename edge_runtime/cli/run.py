"""``edge-run``: recognise actions in a camera, a video, a stream of skeletons."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edge_runtime import __version__
from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.options import OneLineParser, add_engine_options, positive, whole_number
from edge_runtime.cli.outputs import add_output_options
from edge_runtime.cli.watch import add_watch_options
from edge_runtime.redaction import install as install_redaction

if TYPE_CHECKING:  # onnxruntime and OpenCV take half a second to import; --help and a wrong option need neither
    from edge_runtime.cli.site import Site
    from edge_runtime.pipeline.clock import StopFlag
    from edge_runtime.pipeline.pipeline import Pipeline

_EXAMPLES = """\
examples:
  edge-run --demo                                                   a packaged model on a generated person
  edge-run --camera 0 --model ut-interaction                        a model of the zoo on the first camera
  edge-run --video clip.mp4 --model imfe.onnx --record out.mp4      rtstgcn.onnx is found beside imfe.onnx
  edge-run --video clip.mp4 --model imfe.onnx --out - | jq .        events as JSON lines
  edge-run --skeleton walk.npy --rate 60 --model hugadb             joints or sensors, no pictures
  edge-run --images frames/ --rate 25 --model imfe.onnx --head none --out features.jsonl

exit code: 0 ended as asked (also by Ctrl-C or SIGTERM), 2 bad input, 3 the source was lost for good
"""


def parser() -> argparse.ArgumentParser:
    from edge_runtime.pipeline.policy import POLICIES
    from edge_runtime.sources.open import add_source_options

    parser = OneLineParser(
        prog="edge-run",
        description="Recognise actions as they happen.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-run {__version__}")
    source = add_source_options(parser)
    source.add_argument("--config", metavar="SITE.toml", type=Path, help="several cameras, a table of options each")

    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="FILE|NAME", help="imfe.onnx, rtstgcn.onnx for a skeleton, or a zoo name")
    add_engine_options(model)
    model.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="int8: imfe.int8.onnx beside it")

    add_output_options(parser)
    add_watch_options(parser)

    actions = parser.add_argument_group("segments", "when results become an action with a start and an end")
    actions.add_argument("--enter", metavar="SCORE", type=float, default=0.5, help="it begins at (default 0.5)")
    actions.add_argument("--leave", metavar="SCORE", type=float, default=0.3, help="it ends under (default 0.3)")
    actions.add_argument("--min-duration", metavar="S", type=float, default=0.4, help="shorter ones are left out (0.4)")
    actions.add_argument("--smoothing", metavar="S", type=float, default=0.4, help="time constant of scores (0.4)")

    run = parser.add_argument_group("run")
    run.add_argument("--policy", choices=POLICIES, default="auto", help="when frames come too fast (default auto)")
    run.add_argument("--fallback-model", metavar="FILE|NAME", help="smaller, for policy degrade when too slow")
    run.add_argument("--deadline-ms", metavar="MS", type=float, help="budget from capture to result (default: a hop)")
    run.add_argument("--budgets", metavar="FILE.toml", type=Path, help="budget of each stage, in ms")
    run.add_argument("--max-frames", metavar="N", type=whole_number, help="end after this many captured frames")
    run.add_argument("--duration", metavar="S", type=positive, help="end after this much source time")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``edge-run``."""
    _log_to_stderr()
    install_redaction()
    code, hanging = _main(argv)
    if hanging:
        _leave(code)
    return code


def _main(argv: Sequence[str] | None) -> tuple[int, bool]:
    """Exit code, and whether a thread is left that hangs."""
    running: list[Pipeline | Site] = []

    @one_line_errors
    def run(argv: Sequence[str] | None) -> int:
        arguments = list(sys.argv[1:] if argv is None else argv)
        options = parser().parse_args(arguments)
        return _run_site(options, arguments, running) if options.config else _run_one(options, running)

    try:
        code = run(argv)
    except KeyboardInterrupt:  # while opening: there is nothing yet to complete
        code = 130
    return code, any(it.hanging for it in running)


def _run_one(options: argparse.Namespace, running: list[Pipeline | Site]) -> int:
    """A single source.

    From the first output on, a signal ends the run and completes them; before, it ends the process, which may be
    waiting for a camera that does not answer.
    """
    from edge_runtime.cli.build import prepare
    from edge_runtime.pipeline.clock import StopFlag
    from edge_runtime.systemd import Supervisor, Ward

    stop = StopFlag()
    prepared = prepare(options)
    ward = Ward(prepared.reloads)
    with Supervisor([ward]) if prepared.watch.watched else nullcontext():
        pipeline = prepared.open(stop, ward, before_outputs=lambda: _end_on_signals(stop))
        running.append(pipeline)
        pipeline.run()
    return 0


def _run_site(options: argparse.Namespace, arguments: list[str], running: list[Pipeline | Site]) -> int:
    from edge_runtime.cli.site import Site, read_site
    from edge_runtime.pipeline.clock import StopFlag

    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config")
    common = config.parse_known_args(arguments)[1]  # everything else on the command line
    stop = StopFlag()
    site = Site(read_site(options.config, common, parser().parse_args), stop)
    running.append(site)
    _end_on_signals(stop)
    return site.run()


def _end_on_signals(stop: StopFlag) -> None:
    """Ctrl-C and SIGTERM ask for the end; the second one of a kind does what it does by default."""

    def ask(number: int, _: object) -> None:
        stop.request("signal")
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)


def _leave(code: int) -> NoReturn:
    """End although a thread is stuck in a driver: the interpreter would wait for its lock, or abort in its C++."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log_to_stderr() -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # the live status line stands where the cursor is
    logging.basicConfig(level=logging.WARNING, format=f"{clear}edge-run: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
