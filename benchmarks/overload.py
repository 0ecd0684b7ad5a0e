"""``python -m benchmarks.overload --out DIR``: 30 frames a second to a network that takes 60 ms, under each policy.

By the clock on the wall, through the pipeline and sinks of ``edge-run``; the frames come open-loop from memory, and the
demo model's step is drawn out to 60 ms by sleeping. One line a policy, and ``DIR/<policy>/report.html`` to look at.
(`tests/edge_runtime/pipeline/test_overload.py` shows the same on a simulated clock, exactly.)

Exit code 1 when a frame is not accounted for, or memory grows by more than 5 MB after the first quarter.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import psutil

from edge_runtime.bench.replay import PacedSource, Recording
from edge_runtime.events import Summary
from edge_runtime.pipeline.assembly import load_models, open_recogniser
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import POLICIES, PolicyName, choose
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.sink import ReportSink
from edge_runtime.sinks.jsonl import JsonLines
from edge_runtime.sources.base import Frame
from edge_runtime.sources.demo import DemoSource

FPS = 30.0
HOP = 6
STEP_S = 0.06
MOST_GROWTH_MB = 5.0


def run(policy: PolicyName, folder: Path, seconds: float) -> tuple[Summary, float, list[str]]:
    """The summary, MB of memory gained from the first quarter to the end, and the changes of level."""
    models = load_models("demo", None)
    times = StageTimes()
    recogniser, providers = open_recogniser(models, observe=times.lap, hop=HOP)
    recogniser.fps = FPS  # type: ignore[misc]  # whatever it was trained at: every frame offered is to be taken
    step, sizes, process = recogniser.step, [], psutil.Process()

    def slowly(frame: Frame) -> list[Opinion]:
        sizes.append(process.memory_info().rss / 2**20)
        due = time.monotonic() + STEP_S
        opinions = step(frame)
        time.sleep(max(0.0, due - time.monotonic()))
        return opinions

    recogniser.step = slowly  # type: ignore[method-assign]
    monitor = StageMonitor(Budgets.derive(FPS, HOP), times)
    report = ReportSink(monitor, folder=folder)
    recording = Recording.of(DemoSource(), FPS)
    pipeline = Pipeline(
        PacedSource(recording, round(seconds * FPS)),
        Lineup({"main": recogniser}, models.described(), providers),
        [JsonLines(str(folder / "results.jsonl")), report],
        chosen=choose(policy, live=True, hop=HOP, clip_length=recogniser.clip_length),
        times=times,
        monitor=monitor,
    )
    report.frames = pipeline.account.snapshot
    summary = pipeline.run()
    changes = [f"{fault['kind']} at {fault['t_s']:.1f} s" for fault in report.report()["faults"]]
    return summary, sizes[-1] - sizes[len(sizes) // 4], changes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for the reports")
    parser.add_argument("--duration", type=float, default=20.0, help="seconds for each policy (default 20)")
    options = parser.parse_args()
    fine = True
    print(
        f"{'policy':<13}{'captured = processed + dropped':<44}{'p50':>7}{'p99 ms':>8}{'late':>12}{'RSS':>10}  changes"
    )
    for policy in (name for name in POLICIES if name != "auto"):
        folder = options.out / policy
        folder.mkdir(parents=True, exist_ok=True)
        summary, growth_mb, changes = run(policy, folder, options.duration)
        frames, whole = summary.frames, summary.stages[WHOLE]
        dropped = sum(frames["dropped"].values())
        fine &= frames["captured"] == frames["processed"] + dropped and growth_mb < MOST_GROWTH_MB
        reasons = ", ".join(f"{reason} {count}" for reason, count in frames["dropped"].items())
        account = f"{frames['captured']} = {frames['processed']} + {dropped}" + (f" ({reasons})" if reasons else "")
        late = f"{whole['misses']} of {whole['n']}"
        print(
            f"{policy:<13}{account:<44}{whole['p50_ms']:7.0f}{whole['p99_ms']:8.0f}{late:>12}{growth_mb:+7.1f} MB  "
            f"{', '.join(changes)}"
        )
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
