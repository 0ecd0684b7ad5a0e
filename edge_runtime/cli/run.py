"""``edge-run``: recognise actions in a camera, a video, a stream of skeletons."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edge_runtime import __version__
from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.outputs import Run, add_output_options, open_sinks
from edge_runtime.cli.watch import WatchOptions, add_watch_options
from edge_runtime.errors import InputError
from edge_runtime.redaction import install as install_redaction

if TYPE_CHECKING:  # onnxruntime and OpenCV take half a second to import; --help and a wrong option need neither
    from edge_runtime.pipeline.assembly import Models
    from edge_runtime.pipeline.clock import StopFlag
    from edge_runtime.pipeline.pipeline import Pipeline
    from edge_runtime.pipeline.recogniser import Recogniser

_EXAMPLES = """\
examples:
  edge-run --demo                                                   a packaged model on a packaged clip
  edge-run --camera 0 --model ut-interaction                        a model of the zoo on the first camera
  edge-run --video clip.mp4 --model imfe.onnx --record out.mp4      rtstgcn.onnx is found beside imfe.onnx
  edge-run --video clip.mp4 --model imfe.onnx --out - | jq .        events as JSON lines
  edge-run --skeleton walk.npy --rate 59 --model hugadb             joints or sensors, no pictures
  edge-run --images frames/ --rate 25 --model imfe.onnx --head none --out features.jsonl

exit code: 0 ended as asked (also by Ctrl-C or SIGTERM), 2 bad input, 3 the source was lost for good
"""


class _Parser(argparse.ArgumentParser):
    """A wrong option is one line like every other error; the usage is a page."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see edge-run --help")


def parser() -> argparse.ArgumentParser:
    from edge_runtime.pipeline.policy import POLICIES
    from edge_runtime.sources.open import add_source_options

    parser = _Parser(
        prog="edge-run",
        description="Recognise actions as they happen.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-run {__version__}")
    add_source_options(parser)

    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="FILE|NAME", help="imfe.onnx, rtstgcn.onnx for a skeleton, or a zoo name")
    model.add_argument("--head", metavar="FILE|none", help="names actions; default: rtstgcn.onnx beside the model")
    model.add_argument("--hop", metavar="N", type=_positive_int, help="frames from one result to the next")
    model.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="int8: imfe.int8.onnx beside it")
    model.add_argument("--threads", metavar="N|auto", type=_threads, default=None, help="per operator (default auto)")
    model.add_argument("--spin", action="store_true", help="waiting threads loop: sooner, and cores never sleep")
    model.add_argument("--provider", metavar="NAME", default="cpu", help="onnxruntime's: cpu, cuda, … (default cpu)")

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
    run.add_argument("--max-frames", metavar="N", type=_positive_int, help="end after this many captured frames")
    run.add_argument("--duration", metavar="S", type=_positive, help="end after this much source time")
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
    hanging = False

    @one_line_errors
    def run(argv: Sequence[str] | None) -> int:
        nonlocal hanging
        pipeline, supervisor = _build(parser().parse_args(argv))
        try:
            with supervisor:
                pipeline.run()
        finally:
            hanging = pipeline.hanging
        return 0

    try:
        return run(argv), hanging
    except KeyboardInterrupt:  # while opening: there is nothing yet to complete
        return 130, False


def _build(options: argparse.Namespace) -> tuple[Pipeline, AbstractContextManager[Any]]:
    """Open everything, outputs last, so that a bad option leaves no file behind.

    From the first output on, a signal ends the run and completes them; before, it ends the process, which may be
    waiting for a camera that does not answer.
    """
    from edge_runtime.models.zoo import in_precision
    from edge_runtime.pipeline.accounting import Account
    from edge_runtime.pipeline.assembly import check_content, load_fallback, load_models, open_recogniser
    from edge_runtime.pipeline.budgets import Budgets, StageMonitor, read_overrides
    from edge_runtime.pipeline.clock import StopFlag
    from edge_runtime.pipeline.pipeline import Limits, Pipeline
    from edge_runtime.pipeline.policy import choose
    from edge_runtime.pipeline.timing import StageTimes
    from edge_runtime.segments import Hysteresis
    from edge_runtime.sources.open import open_source
    from edge_runtime.streams.threads import choose_threads

    hysteresis = Hysteresis(options.enter, options.leave, options.min_duration, options.smoothing)
    overrides = read_overrides(options.budgets) if options.budgets else None
    watch = WatchOptions(options)
    models = load_models(in_precision(_model(options), options.precision), options.head)
    threads = options.threads or choose_threads(models.main, hop=options.hop, provider=options.provider).threads
    described = models.described()
    described["model"]["threads"] = threads
    times = StageTimes()

    def open_models(which: Models) -> tuple[Recogniser, dict[str, str]]:
        return open_recogniser(
            which, observe=times, hop=options.hop, threads=threads, provider=options.provider, spin=options.spin
        )

    recogniser, providers = open_models(models)
    recognisers = {"main": recogniser}
    if options.fallback_model:
        if options.policy not in ("auto", "degrade"):
            raise InputError(f"--fallback-model is for --policy degrade; --policy {options.policy} never turns to it")
        smaller = load_fallback(options.fallback_model, models)
        recognisers["fallback"], theirs = open_models(smaller)
        described |= {f"fallback {role}": about for role, about in smaller.described().items()}
        providers |= {f"fallback {stage}": provider for stage, provider in theirs.items()}
    source = open_source(options, models.fps)
    try:
        info = source.info
        check_content(models, info.content, info.name)
        fps = min(models.fps, info.fps or models.fps)
        monitor = StageMonitor(Budgets.derive(fps, recogniser.hop, options.deadline_ms, overrides))
        account = Account()
        stop = StopFlag()
        _end_on_signals(stop)
        sinks, supervisor = open_sinks(options, Run(info, account, monitor, times), watch)
        pipeline = Pipeline(
            source,
            recognisers,
            sinks,
            chosen=choose(
                options.policy,
                live=info.live,
                hop=recogniser.hop,
                clip_length=recogniser.clip_length,
                fallback="fallback" in recognisers,
            ),
            times=times,
            monitor=monitor,
            hysteresis=hysteresis,
            limits=Limits(options.max_frames, options.duration),
            models=described,
            providers=providers,
            account=account,
            stop=stop,
        )
        return pipeline, supervisor
    except BaseException:
        source.close()
        raise


def _model(options: argparse.Namespace) -> str:
    if options.model:
        return str(options.model)
    if getattr(options, "demo", False):
        return "demo"
    raise InputError("--model is missing: give an imfe.onnx, an rtstgcn.onnx, or a name that edge-inspect --zoo lists")


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


def _positive_int(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return value


def _threads(text: str) -> int | None:
    return None if text == "auto" else _positive_int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
