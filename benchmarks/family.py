"""Every graph network on the same real recordings with the same budget: ``python -m benchmarks.family --out DIR``.

HuGaDB at 10 Hz, eleven subjects to train on and three unseen ones to score. Each network has the same minutes of one
core (CPU time): its epochs are those that fit, by the time that one short epoch takes. So the table says what a network
gives for an hour of a laptop, not what it gives in the end: *equal budget, not converged*. No epoch is chosen on
the scored subjects; the last one counts. All of it is done by the commands that a user has: ``trainer rtstgcn train``,
``test``, ``export``, ``edge-quantize``.

``--losses`` goes on with the first of them under each loss, over two seeds. What is finished is kept in DIR: a
command that was stopped goes on, and a finished one only takes the times again and prints the table.
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
from trainer.nets.family import load_network
from trainer.nets.network import FrameNetwork, GraphNetwork

CONFIG = Path(__file__).with_suffix(".json")
DATA = Path(os.environ.get("EDGE_DATA", "../shared/data")) / "hugadb"
HELD_OUT = frozenset({"07", "11", "14"})
PROBE = frozenset({"15"})  # the subject on whom the time of an epoch is taken
SLOWER = 6  # 60 Hz -> 10 Hz
UNITS = np.repeat(np.array([16384, 2000], np.float32), 3)[:, None, None]  # 1 g; 2000 counts of the gyroscope
TIMED_FRAMES, ROUNDS = 100, 5
EXPORTED = ("rt-st-gcn", "co-st-gcn", "st-gcn")


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


def row(entry: Entry, out: Path, data: Path, minutes: float) -> dict[str, Any]:
    """Train, score, export, quantize; kept in ``row.json``."""
    kept = out / "row.json"
    if kept.is_file():
        return json.loads(kept.read_text())  # type: ignore[no-any-return]
    result: dict[str, Any] = {"name": entry.name, **fit(entry, out, data, minutes)}
    net = network(out, data)
    result |= {"parameters": sum(p.numel() for p in net.parameters()), "macs": net.macs, "state": net.state_size}
    result |= {"delay_s": net.delay / 10, "ahead": net.look_ahead}
    if entry.model in EXPORTED:
        fp32, int8 = out / "fp32.onnx", out / "int8.onnx"
        weights = "--checkpoint", out / "best.pt", "--labels", data / "all" / "actions.txt"
        command(trainer, "rtstgcn", "export", "--config", out / "config.json", *weights, "--out", fp32)
        sample = next(iter(open_split(data / "fit", "train", 10)))
        np.save(out / "sample.npy", np.asarray(sample.features))
        command(edge_quantize, fp32, "--mode", "dynamic", "--calibrate", out / "sample.npy", "--out", int8)
        result["scores"] = {file.stem: score(out, data, "--exported", file) for file in (fp32, int8)}
    else:
        result["scores"] = {"torch": score(out, data)}
    kept.write_text(json.dumps(result, indent=2))
    return result


def network(out: Path, data: Path) -> GraphNetwork:
    """The trained network."""
    return load_network(out / "config.json", out / "best.pt", data / "all" / "actions.txt")


def runners(entry: Entry, out: Path, data: Path) -> dict[str, Callable[[npt.NDArray[np.float32]], object]]:
    """How the network runs over frames (L, C, V), by what runs it."""
    if entry.model in EXPORTED:
        streams = {name: RtStgcnStream(out / f"{name}.onnx") for name in ("fp32", "int8")}
        return {name: lambda x, s=stream: [s.step(frame) for frame in x] for name, stream in streams.items()}  # type: ignore[misc]
    net = network(out, data)
    if isinstance(net, FrameNetwork):
        return {"torch": lambda x: step_by_step(net, x)}
    return {"torch": lambda x: net(torch.from_numpy(x).permute(1, 0, 2)[None])}


@torch.inference_mode()
def step_by_step(net: Any, x: npt.NDArray[np.float32]) -> None:
    """Frame by frame in torch, from an empty memory."""
    state = net.initial_state()
    for frame in torch.from_numpy(x):
        _, state = net.step(frame[None], state)


def milliseconds(out: Path, data: Path) -> dict[tuple[str, str], float]:
    """Median time a frame of every network, all in turns so that a neighbour on the machine slows them alike."""
    trial = max(open_split(data / "all", "val", 10), key=len)
    x = np.ascontiguousarray(np.moveaxis(np.asarray(trial.features), 1, 0), dtype=np.float32)[:TIMED_FRAMES]
    every = {(e.name, kind): run for e in NETWORKS for kind, run in runners(e, out / e.folder, data).items()}
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in every}
    with torch.inference_mode():
        for round_ in range(ROUNDS + 1):
            for key, run in every.items():
                begun = time.thread_time()
                run(x)
                if round_:  # the first one warms up
                    taken[key].append(1e3 * (time.thread_time() - begun) / len(x))
    return {key: statistics.median(values) for key, values in taken.items()}


def networks_table(out: Path, data: Path, minutes: float) -> list[str]:
    """Train what is not trained, time, and describe every network in a line of Markdown."""
    rows = [row(entry, out / entry.folder, data, minutes) for entry in NETWORKS]
    times = milliseconds(out, data)
    lines = [
        "| network | epochs (CPU min) | accuracy | top-5 | F1@50 a trial; pooled | edit | named after | parameters "
        "| MMAC / frame | state, words | ms / frame |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        for kind, s in r["scores"].items():
            first = kind != "int8"
            ahead = "recording's end" if r["ahead"] else f"{s['time_to_detection']:.1f} s ({100 * s['detected']:.0f} %)"
            cells = [
                r["name"] if first else "– int8",
                f"{r['epochs']} ({r['cpu_s'] / 60:.1f})" if first else "",
                f"{100 * s['accuracy']:.1f}",
                f"{100 * s['top5']:.1f}",
                f"{100 * s['f1@50']:.1f}; {100 * s['pooled_f1@50']:.1f}",
                f"{100 * s['edit']:.1f}",
                ahead,
                f"{r['parameters'] / 1e6:.3f} M" if first else "",
                f"{r['macs'] / 1e6:.2f}" if first else "",
                f"{r['state']:,}" if first and not r["ahead"] else "–" if first else "",
                f"{times[r['name'], kind]:.3f}{' (torch)' if kind == 'torch' else ''}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def losses_table(out: Path, data: Path, minutes: float) -> list[str]:
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
    lines = [f"| loss | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
    for name, scores in found.items():
        values = [[100 * one[key] for one in scores] for key in shown]
        cells = [f"{statistics.mean(v):.1f} ({', '.join(f'{x:.1f}' for x in v)})" for v in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of data, trainings and exported files")
    parser.add_argument("--minutes", type=float, default=1.0, help="CPU minutes a training (default: %(default)s)")
    parser.add_argument("--losses", action="store_true", help="the losses instead of the networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = args.out / "data"
    prepare_data(data)
    table = losses_table if args.losses else networks_table
    print("\n".join(table(args.out / ("losses" if args.losses else "networks"), data, args.minutes)))


if __name__ == "__main__":
    main()
