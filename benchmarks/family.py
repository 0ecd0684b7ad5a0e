"""Every graph network on the same real recordings with the same budget: ``python -m benchmarks.family --out DIR``.

HuGaDB at 10 Hz, eleven subjects to train on and three unseen ones to score. Each network has the same minutes of one
core (CPU time): its epochs are those that fit, by the time that one short epoch takes. So the table says what a network
gives for that time, not what it gives in the end: *equal budget, not converged*. No epoch is chosen on
the scored subjects; the last one counts. All of it is done by the commands that a user has: ``trainer rtstgcn train``,
``test``, ``export``, ``edge-quantize``.

``--losses`` goes on with the first of them under each loss, over two seeds. What is finished is kept in DIR: a
command that was stopped goes on. ``--costs`` needs no training: parameters, multiplications, state and time of a frame.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edge_runtime import RtStgcnStream
from edge_runtime.cli.quantize import main as edge_quantize
from trainer.checkpoint import load
from trainer.cli import main as trainer
from trainer.data import prepare
from trainer.data.prepare import Recording, hugadb
from trainer.data.skeletons import open_split
from trainer.engine.options import override
from trainer.export import export_rtstgcn
from trainer.nets.config import options_of, read_json
from trainer.nets.family import LAYERED, build
from trainer.nets.network import FrameNetwork, GraphNetwork

CONFIG = Path(__file__).with_suffix(".json")
DATA = Path(os.environ.get("EDGE_DATA", "../shared/data")) / "hugadb"
HELD_OUT = frozenset({"07", "11", "14"})
PROBE = frozenset({"15"})  # the subject on whom the time of an epoch is taken
SLOWER = 6  # 60 Hz -> 10 Hz
UNITS = np.repeat(np.array([16384, 2000], np.float32), 3)[:, None, None]  # 1 g; 2000 counts of the gyroscope
TIMED_FRAMES, ROUNDS = 100, 5
Frames = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what is set beside the common configuration."""

    name: str
    model: str
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return "-".join(re.findall(r"\w+", self.name.lower()))

    @property
    def overrides(self) -> list[str]:
        chosen = (f"processor.model={self.model}", *self.settings)
        return [word for setting in chosen for word in ("--set", setting)]


# a window of 5 s every four seconds: a network by sliding window pays for each as if it were a recording
SPARSE = ("optimizer.every=40",)
NETWORKS = (
    Entry("RT-ST-GCN, 69", "rt-st-gcn"),
    Entry("RT-ST-GCN, 9", "rt-st-gcn", ("arch.rt-st-gcn.kernel=9",)),
    Entry("CoST-GCN", "co-st-gcn"),
    Entry("ST-GCN", "st-gcn", SPARSE),
    Entry("AAGCN", "aa-gcn", SPARSE),
    Entry("Shift-GCN", "shift-gcn"),
    Entry("MS-GCN", "ms-gcn"),
    Entry("MS-TCN", "ms-tcn"),
)
LOSSES = {
    "cross-entropy": ("optimizer.class_weights=none", "loss.smoothing=0"),
    "+ class weights": ("loss.smoothing=0",),
    "+ smoothing": ("optimizer.class_weights=none",),
    "+ both (published)": (),
    "focal + both": ("loss.kind=focal",),
    "segmental + smoothing": ("loss.kind=segmental",),
}
SEEDS = (1, 2)


@dataclass
class Slow:
    """HuGaDB for this table: the mean of six samples, in g and in thousands of a degree a second's full scale."""

    groups: frozenset[str]
    VAL: frozenset[str] = frozenset()
    LABELS: Sequence[str] = hugadb.LABELS
    GRAPH: str = hugadb.GRAPH
    FPS: float = hugadb.FPS / SLOWER

    def recordings(self, source: Path) -> Iterator[Recording]:
        for recording in hugadb.recordings(source):
            if recording.group in self.groups:
                length = len(recording.labels) // SLOWER
                x = recording.features[:, : length * SLOWER].reshape(6, length, SLOWER, 6).mean(2, dtype=np.float32)
                labels = recording.labels[SLOWER // 2 :: SLOWER][:length]
                yield Recording(recording.name, recording.group, x / UNITS, labels)


def prepare_data(out: Path) -> None:
    """``all`` (train and val), ``fit`` (its training part alone, so that no epoch is chosen) and ``probe``."""
    everyone = frozenset(f"{subject:02d}" for subject in range(1, 19))
    parts = {"all": Slow(everyone, HELD_OUT), "fit": Slow(everyone - HELD_OUT), "probe": Slow(PROBE)}
    for name, dataset in parts.items():
        if not (out / name / "done").is_file():
            prepare.write(dataset, DATA, out / name)
            (out / name / "done").touch()


def command(run: Callable[[list[str]], int], *words: str | Path) -> float:
    """Run a command in this process; the seconds of CPU that it took."""
    begun = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        code = run([str(word) for word in words])
    if code:
        raise SystemExit(f"failed with {code}: {' '.join(map(str, words))}")
    return time.process_time() - begun


def fit(entry: Entry, out: Path, data: Path, minutes: float, *begin: str | Path) -> dict[str, Any]:
    """Train as many epochs as the minutes hold, ``begin`` on the first command line; what that took."""
    done = out / "trained.json"
    if done.is_file():
        return json.loads(done.read_text())  # type: ignore[no-any-return]
    train = "rtstgcn", "train", "--device", "cpu"
    setting: tuple[str | Path, ...] = ("--config", CONFIG, *entry.overrides)
    if not (out / "config.json").is_file():
        trial = *setting, "--set", "optimizer.epochs=1", "--out", out / "probe", "--data", data / "probe"
        spent = [command(trainer, *train, *trial) for _ in range(2)][1]  # the first one loads libraries
        frames = [sum(len(t) for t in open_split(data / part, "train", 10)) for part in ("probe", "fit")]
        epochs = max(1, round(60 * minutes / spent * frames[0] / frames[1]))
        whole = *setting, "--set", f"optimizer.epochs={epochs}", "--out", out, "--data", data / "fit"
        spent = command(trainer, *train, *whole, *begin)
    else:
        resume = ("--resume",) if (out / "last.pt").is_file() else ()
        command(trainer, *train, "--config", out / "config.json", "--data", data / "fit", "--out", out, *resume)
        spent = float("nan")  # of a training that was interrupted, the time is not known
    progress = load(out / "last.pt")["training"]["progress"]
    result = {"cpu_s": spent, "epochs": progress["epoch"], "steps": progress["step"]}
    done.write_text(json.dumps(result))
    return result


def score(out: Path, data: Path, *which: str | Path) -> dict[str, float]:
    """``trainer rtstgcn test`` on the unseen subjects."""
    command(trainer, "rtstgcn", "test", "--config", out / "config.json", "--out", out, "--data", data / "all", *which)
    return json.loads((out / "test" / "metrics.json").read_text())  # type: ignore[no-any-return]


def scores(entry: Entry, out: Path, data: Path, minutes: float) -> dict[str, Any]:
    """Train, export, quantize, score what a device runs (where there is such a file); kept in ``row.json``."""
    kept = out / "row.json"
    if kept.is_file():
        return json.loads(kept.read_text())  # type: ignore[no-any-return]
    result: dict[str, Any] = fit(entry, out, data, minutes)
    if entry.model in LAYERED:  # these see no future, and run on a device
        weights = "--checkpoint", out / "best.pt", "--labels", data / "all" / "actions.txt"
        command(trainer, "rtstgcn", "export", "--config", out / "config.json", *weights, "--out", out / "fp32.onnx")
        quantize(out / "fp32.onnx", out / "int8.onnx")
        result["scores"] = {kind: score(out, data, "--exported", out / f"{kind}.onnx") for kind in ("fp32", "int8")}
    else:
        result["scores"] = {"fp32": score(out, data)}
    kept.write_text(json.dumps(result, indent=2))
    return result


def quantize(fp32: Path, int8: Path) -> None:
    """What a user does to have int8 that needs no data."""
    command(edge_quantize, fp32, "--mode", "dynamic", "--out", int8)


def scores_table(out: Path, data: Path, minutes: float) -> Iterator[str]:
    """What each network gives for its minutes, a line as soon as it is known."""
    yield "| network | epochs (CPU min) | accuracy | top-5 | F1@50 a trial; pooled | edit | named after (ever) |"
    yield "|---|---|---|---|---|---|---|"
    for entry in NETWORKS:
        found = scores(entry, out / entry.folder, data, minutes)
        for kind, s in found["scores"].items():
            first = kind == "fp32"
            cells = [
                entry.name if first else "– int8",
                f"{found['epochs']} ({found['cpu_s'] / 60:.1f})" if first else "",
                f"{100 * s['accuracy']:.1f}",
                f"{100 * s['top5']:.1f}",
                f"{100 * s['f1@50']:.1f}; {100 * s['pooled_f1@50']:.1f}",
                f"{100 * s['edit']:.1f}",
                f"{s['time_to_detection']:.1f} s ({100 * s['detected']:.0f} %)",
            ]
            yield f"| {' | '.join(cells)} |"


def network(entry: Entry) -> GraphNetwork:
    """The untrained network."""
    raw = override(read_json(CONFIG), entry.overrides[1::2])
    return build(options_of(raw, CONFIG), hugadb.LABELS).eval()


def runners(entry: Entry, net: GraphNetwork, folder: Path) -> dict[str, Callable[[Frames], object]]:
    """How the network runs over frames (L, C, V), by what runs it."""
    if isinstance(net, FrameNetwork):
        files = [folder / f"{entry.folder}.{kind}.onnx" for kind in ("fp32", "int8")]
        export_rtstgcn(net, files[0])
        quantize(*files)
        streams = {file.suffixes[-2][1:]: RtStgcnStream(file) for file in files}
        return {kind: partial(RtStgcnStream.steps, stream) for kind, stream in streams.items()}
    return {"torch, whole recording": lambda x: net(torch.from_numpy(x).permute(1, 0, 2)[None])}


def costs_table(out: Path, data: Path, minutes: float) -> Iterator[str]:
    """What a frame costs, with random weights, which change no time. All in turns: a neighbour slows them alike."""
    out.mkdir(parents=True, exist_ok=True)
    nets = {entry.name: network(entry) for entry in NETWORKS}
    runs = {(e.name, kind): run for e in NETWORKS for kind, run in runners(e, nets[e.name], out).items()}
    x = np.random.default_rng(0).standard_normal((TIMED_FRAMES, 6, 6)).astype(np.float32)
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    with torch.inference_mode():
        for round_ in range(ROUNDS + 1):
            for key, run in runs.items():
                begun = time.thread_time()
                run(x)
                if round_:  # the first one warms up
                    taken[key].append(1e3 * (time.thread_time() - begun) / len(x))
    yield "| network | speaks of | parameters | MMAC / frame | state, words | ms / frame |"
    yield "|---|---|---|---|---|---|"
    for name, net in nets.items():
        ahead = "the whole recording" if net.look_ahead else f"{net.delay / net.config.fps:.1f} s ago" * bool(net.delay)
        times = (f"{kind} {statistics.median(v):.3f}" for (of, kind), v in taken.items() if of == name)
        size = f"{sum(p.numel() for p in net.parameters()) / 1e6:.3f} M"
        state = "–" if net.look_ahead else f"{net.state_size:,}"
        yield f"| {name} | {ahead or 'now'} | {size} | {net.macs / 1e6:.2f} | {state} | {'; '.join(times)} |"


def losses_table(out: Path, data: Path, minutes: float) -> Iterator[str]:
    """RT-ST-GCN as the table of networks left it, trained on under every loss: the mean over the seeds, and each."""
    start = out.parent / "networks" / NETWORKS[0].folder
    fit(NETWORKS[0], start, data, minutes)
    shown = ("accuracy", "f1@50", "pooled_f1@50", "edit", "map")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    for seed in SEEDS:
        for name, settings in LOSSES.items():
            entry = Entry(f"{name} {seed}", "rt-st-gcn", (*settings, f"optimizer.seed={seed}"))
            folder = out / entry.folder
            fit(entry, folder, data, minutes, "--init", start / "best.pt")
            kept = folder / "scores.json"
            if not kept.is_file():
                kept.write_text(json.dumps(score(folder, data)))
            found[name].append(json.loads(kept.read_text()))
    yield f"| loss | {' | '.join(shown)} |"
    yield "|---|" + "---|" * len(shown)
    for name, results in found.items():
        values = [[100 * one[key] for one in results] for key in shown]
        cells = [f"{statistics.mean(v):.1f} ({', '.join(f'{x:.1f}' for x in v)})" for v in values]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of data, trainings and exported files")
    parser.add_argument("--minutes", type=float, default=1.0, help="CPU minutes a training (default: %(default)s)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--costs", action="store_true", help="what a frame costs, without training")
    other.add_argument("--losses", action="store_true", help="the losses instead of the networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    name, table = "networks", scores_table
    if args.costs:
        name, table = "costs", costs_table
    elif args.losses:
        name, table = "losses", losses_table
    data = args.out / "data"
    if not args.costs:
        prepare_data(data)
    for line in table(args.out / name, data, args.minutes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
