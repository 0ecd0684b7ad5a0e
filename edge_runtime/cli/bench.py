"""``edge-bench``: how fast a model runs on this device, with what certainty, as a table, JSON and a page."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime import __version__
from edge_runtime.cli.exits import one_line_errors
from edge_runtime.cli.options import OneLineParser, add_engine_options, positive
from edge_runtime.errors import InputError

if TYPE_CHECKING:  # onnxruntime and OpenCV take half a second to import; --help and a wrong option need neither
    from edge_runtime.bench.measure import Engine
    from edge_runtime.bench.replay import Recording
    from edge_runtime.pipeline.assembly import Models

REGRESSED = 1  # exit code

_EXAMPLES = """\
measured in this order: warm-up (not counted), throughput, single stream, streams that fit, models in turns

examples:
  edge-bench --model ut-interaction --out bench/                     on a generated person, at the model's rate
  edge-bench --model imfe.onnx --video clip.mp4 --out bench/         on a video's frames, at the video's rate
  edge-bench --models imfe.onnx imfe.int8.onnx --out bench/          one against the other, with confidence interval
  edge-bench --model imfe.onnx --out new/ --compare old/report.json --fail-above 5%

exit code: 0 measured, 1 slower than --compare by more than --fail-above, 2 bad input
"""


def parser() -> argparse.ArgumentParser:
    from edge_runtime.pipeline.policy import POLICIES

    parser = OneLineParser(
        prog="edge-bench",
        description="Measure a model on this device: latency under a camera's load, throughput, streams that fit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-bench {__version__}")
    model = parser.add_argument_group("model")
    which = model.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="FILE|NAME", help="imfe.onnx, rtstgcn.onnx for a skeleton, or a zoo name")
    which.add_argument(
        "--models", metavar="FILE", nargs="+", help="the first measured as by --model, then all in turns"
    )
    add_engine_options(model)
    load = parser.add_argument_group("load")
    recording = load.add_mutually_exclusive_group()
    recording.add_argument(
        "--video", metavar="FILE", type=Path, help="its frames, from memory (default: a generated person)"
    )
    recording.add_argument("--skeleton", metavar="FILE", help="for a skeleton model (default: random joints)")
    load.add_argument("--rate", metavar="HZ", type=positive, help="frames offered a second (default: the source's)")
    load.add_argument("--duration", metavar="S", type=positive, default=60.0, help="of the single stream (default 60)")
    load.add_argument(
        "--policy", choices=POLICIES, default="block", help="under overload (default block: none is lost)"
    )
    budget = parser.add_argument_group("budgets")
    budget.add_argument("--deadline-ms", metavar="MS", type=float, help="from capture to result (default: a hop)")
    budget.add_argument("--budgets", metavar="FILE.toml", type=Path, help="budget of each stage, in ms")
    result = parser.add_argument_group("results")
    result.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="report.json, report.html, results.jsonl"
    )
    result.add_argument("--compare", metavar="REPORT.json", type=Path, help="an earlier report of the same device")
    result.add_argument("--fail-above", metavar="5%", type=_share, default=0.05, help="slower than that fails (5%%)")
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``edge-bench``."""
    logging.basicConfig(level=logging.WARNING, format="edge-bench: %(message)s")
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser().parse_args(words)
    try:
        report = _measure(options, " ".join(["edge-bench", *words]))
    except KeyboardInterrupt:
        print("edge-bench: interrupted, no report written", file=sys.stderr)
        return 130
    return _conclude(report, options)


def _measure(options: argparse.Namespace, command: str) -> dict[str, Any]:
    from edge_runtime.bench import measure
    from edge_runtime.bench.compare import against, compare_models, read_report
    from edge_runtime.pipeline.assembly import load_models
    from edge_runtime.pipeline.budgets import Budgets, read_overrides
    from edge_runtime.report.report import with_verdict, write
    from edge_runtime.sinks.jsonl import JsonLines
    from edge_runtime.streams.threads import choose_threads

    old = read_report(options.compare) if options.compare else None
    overrides = read_overrides(options.budgets) if options.budgets else None
    all_models = [load_models(name, options.head) for name in options.models or [options.model]]
    models = all_models[0]
    recording = _recording(options, models)
    threads = options.threads or choose_threads(models.main, hop=options.hop, provider=options.provider).threads

    def open_engine(which: Models = models) -> Engine:
        return measure.Engine.open(
            which, hop=options.hop, threads=threads, provider=options.provider, spin=options.spin
        )

    engine = open_engine()
    recogniser = engine.recogniser
    budgets = Budgets.derive(min(recording.fps, recogniser.fps), recogniser.hop, options.deadline_ms, overrides)
    samples = _prepare(options.out)
    part = min(options.duration / 6, 10.0)  # for each of the other measurements

    _say(f"warm-up {part / 2:.2g} s, then throughput {part:.2g} s")
    warmup = measure.warm_up(recogniser, recording, part / 2)
    throughput = measure.throughput(recogniser, recording, part)
    _say(f"single stream {options.duration:g} s at {recording.fps:g} FPS")
    report = measure.single_stream(
        engine,
        recording,
        budgets,
        seconds=options.duration,
        policy=options.policy,
        settings={"threads": threads} | _settings(options, recording),
        command=command,
        sinks=[JsonLines(str(samples))],
    )
    report |= {"warmup": warmup, "throughput": throughput}
    _say(f"streams that fit, {part:.2g} s for each number of them")
    report["streams"] = measure.streams_that_fit(
        lambda: open_engine().recogniser,
        recording,
        budgets,
        seconds=part,
        guess=int(throughput["times_real_time"]),
    )
    if len(all_models) > 1:
        _say(f"{len(all_models)} models in turns, {options.duration:g} s")
        named = [(_about(one), open_engine(one).recogniser) for one in all_models]
        report["comparison"] = compare_models(named, recording, seconds=options.duration)
    if old is not None:
        report["baseline"] = against(report, old, options.compare, options.fail_above)
    report = with_verdict(report)
    write(report, options.out)
    return report


def _recording(options: argparse.Namespace, models: Models) -> Recording:
    from dataclasses import replace

    from edge_runtime.bench.replay import Recording, random_skeleton
    from edge_runtime.models.metadata import RtStgcnMetadata
    from edge_runtime.pipeline.assembly import check_content
    from edge_runtime.sources.base import Source
    from edge_runtime.sources.demo import DemoSource
    from edge_runtime.sources.skeleton import open_skeleton
    from edge_runtime.sources.video import VideoSource

    metadata = models.main.metadata
    if options.skeleton is None and options.video is None and isinstance(metadata, RtStgcnMetadata):
        recording = random_skeleton(metadata)
    else:
        source: Source
        if options.skeleton is not None:
            source = open_skeleton(options.skeleton, options.rate, models.fps)
        else:
            source = VideoSource(options.video) if options.video is not None else DemoSource()
        check_content(models.content, source.info.content, source.info.name)
        recording = Recording.of(source, models.fps)
    return replace(recording, fps=options.rate) if options.rate else recording


def _prepare(folder: Path) -> Path:
    """The folder, emptied of an earlier report; where the raw samples go."""
    from edge_runtime.report.report import remove

    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove(folder)
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; name a folder that can be written to") from None
    return folder / "results.jsonl"


def _settings(options: argparse.Namespace, recording: Recording) -> dict[str, Any]:
    size = sum(frame.nbytes for frame in recording.frames) / 2**20
    return {
        "spin": options.spin,
        "provider": options.provider,
        "offered_fps": recording.fps,
        "arrivals": "open loop: each frame is stamped when it is due",
        "recording": f"{len(recording.frames)} frames in memory, {size:.0f} MB of RSS; decoding is not measured",
        "policy": options.policy,
    }


def _about(models: Models) -> dict[str, str]:
    main = models.main
    return {"name": main.path.name, "sha256": main.sha256, "precision": main.metadata.precision}


def _conclude(report: dict[str, Any], options: argparse.Namespace) -> int:
    """Print what was found; the exit code."""
    verdict = report["verdict"]
    whole = report["stages"].get("capture_to_result")
    print()
    if whole is not None:
        late = f"{whole['misses']} of {whole['n']} results late"
        print(f"capture to result   p50 {whole['p50_ms']:.1f} ms   p90 {whole['p90_ms']:.1f} ms   ", end="")
        print(f"p99 {whole['p99_ms']:.1f} ms   budget {whole['budget_ms']:.1f} ms   {late}")
    speed, streams = report["throughput"], report["streams"]
    print(f"throughput          {speed['frames_per_s']:.1f} frames/s, {speed['times_real_time']:.1f} x real time")
    print(f"streams             {streams['fits']} fit the budget of {streams['budget_ms']:.0f} ms")
    for model in (report["comparison"] or {"models": []})["models"]:
        interval = f"{model['ratio_low']:.3f}-{model['ratio_high']:.3f}"
        print(f"{model['name']:<20}{model['ms_per_frame']:.3f} ms/frame, x {model['ratio']:.3f} ({interval})")
    regressed = [one for one in report.get("baseline", {"metrics": []})["metrics"] if one["regressed"]]
    for one in regressed:
        change = f"{one['change']:+.1%} slower than before ({one['before']:.3g} -> {one['now']:.3g})"
        print(f"REGRESSED           {one['metric']}: {change}")
    print("VALID" if verdict["valid"] else "NOT VALID", *verdict["reasons"], sep="\n  - ")
    print(f"report: {options.out / 'report.html'}")
    return REGRESSED if regressed else 0


def _say(text: str) -> None:
    print(f"edge-bench: {text}", file=sys.stderr)


def _share(text: str) -> float:
    """``5%`` or ``0.05`` as 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a share such as 5% or 0.05, found {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main(None))
