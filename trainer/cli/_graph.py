"""What the commands of the graph networks share: options, the networks by name, and a run's files opened and checked.

(A leading underscore: not a command.)
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from trainer.data.skeletons import TrialSet
    from trainer.engine.options import DataOptions, TrainingOptions
    from trainer.nets.config import NetworkOptions
    from trainer.nets.network import GraphNetwork

log = logging.getLogger(__name__)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Which network on which data, with what changed."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON configuration")
    parser.add_argument("--data", type=Path, metavar="DIR", help="dataset, instead of the configuration's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of results, instead of the configuration's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one value of the configuration"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; by default a GPU where there is one")


@dataclass(frozen=True, slots=True)
class Run:
    """A configuration, read and checked against its data."""

    net: GraphNetwork
    labels: tuple[str, ...]
    fps: float | None
    raw: dict[str, Any]  # with what the command line changed, readable from any folder
    training: TrainingOptions


def open_run(args: argparse.Namespace) -> Run:
    """Read the configuration with its overrides, and build the network.

    Raises:
        InputError: anything in it that cannot be used.
    """
    from trainer import checkpoint
    from trainer.engine.options import TRAINING_KEYS, override, read_training
    from trainer.nets.config import options_of, read_json
    from trainer.nets.family import build

    raw = override(read_json(args.config), args.set)
    training = read_training(raw, str(args.config))
    data = replace(training.data, data=args.data or training.data.data, out=args.out or training.data.out)
    training = replace(training, data=data)
    options = options_of(raw, args.config)
    expected = getattr(args, "network", None)
    if expected and options.network != expected:
        raise InputError(f"{args.config}: is a configuration of {options.network}, this command's is {expected}")
    labels = _labels(options, data.data, given=args.data is not None)
    checkpoint.seed_everything(training.optimizer.seed)  # the first weights belong to the run
    net = build(options, labels)
    if training.optimizer.every > 1 and not net.skips:
        raise InputError(f"{args.config}: {options.network} computes every frame; leave 'optimizer.every' out")
    if training.optimizer.qat and options.network != "rt-st-gcn":
        raise InputError(f"{args.config}: 'optimizer.qat' is for rt-st-gcn, found {options.network}")
    if unknown := [*training.unknown, *(key for key in options.unused if key not in TRAINING_KEYS)]:
        log.info("%s: kept, but used by nothing here: %s", args.config, ", ".join(unknown))
    fps = options.get("fps")
    return Run(net, labels, float(fps) if fps else None, _self_contained(raw, options, data, labels, net), training)


def _self_contained(
    raw: dict[str, Any], options: NetworkOptions, data: DataOptions, labels: tuple[str, ...], net: GraphNetwork
) -> dict[str, Any]:
    """``raw`` with the folders and the names that were used, and the graph where it was a file beside it."""
    used: dict[str, Any] = {"data": str(data.data), "out": str(data.out), "actions": list(labels)}
    graph = options.get("graph")
    if isinstance(graph, str) and options.resolve(graph).is_file():
        used["graph"] = asdict(net.config.graph)
    kept: dict[str, Any] = json.loads(json.dumps(raw))
    arch = kept.get("arch", {})
    first = kept["processor" if isinstance(kept.get("processor"), dict) else "model"]
    sections = [*(section for section in arch.values() if isinstance(section, dict)), arch, first]
    for key, value in used.items():
        next((section for section in sections if key in section), first)[key] = value
    return kept


def _labels(options: NetworkOptions, data: Path, given: bool) -> tuple[str, ...]:
    """Class names: of the dataset on the command line, else the configuration's, else the dataset's."""
    from trainer.nets.config import read_labels

    beside = data / "actions.txt"
    labels = None if given and beside.is_file() else options.labels
    if labels is None and beside.is_file():
        labels = read_labels(beside)
    if labels is None:
        raise InputError(f"{options.path}: no action list {options.get('actions')!r}, and none at {beside}")
    return labels


def open_split(run: Run, split: str) -> TrialSet:
    """One split of the run's dataset, checked against the network.

    Raises:
        InputError: something is wrong with the dataset, or it does not fit the network.
    """
    from trainer.data import skeletons
    from trainer.data.streams import stream

    data = run.training.data
    trials = skeletons.open_split(data.data, split, len(run.labels), data.dataset_type)
    expected = run.net.config.in_channels, run.net.config.graph.num_node
    if trials.shape != expected:
        raise InputError(
            f"{data.data}: trials have {trials.shape[0]} channels and {trials.shape[1]} nodes, the configuration says "
            f"{expected[0]} and {expected[1]}"
        )
    return replace(trials, view=stream(data.stream, run.net.config.graph))


def has_split(run: Run, split: str) -> bool:
    """Whether the dataset has such a split at all."""
    data = run.training.data
    return (data.data / (split if data.dataset_type == "dir" else f"{split}_data.npy")).exists()
