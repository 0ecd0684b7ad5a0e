"""Weights for a larger network from a smaller one's: ``python -m models_zoo.hugadb.grow --help``.

What the smaller one has is kept. Sensor streams that its embedding lacks get weight 0 and, where the embedding grows, a
channel each. Then the perceptron of the larger one's ``lift_head``, if it has one, is fitted to what the rest gets
wrong on the training trials, all else held: half a minute, and on unseen subjects the difference between 63 and 73 % of
the frames of recordings with lifts.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import checkpoint
from trainer.data.prepare import hugadb
from trainer.data.skeletons import open_split
from trainer.nets.config import read_options
from trainer.nets.network_config import NetworkConfig
from trainer.nets.rtstgcn import RtStgcn

EMBEDDING, LIFTS = "fcn_in.weight", "lift_head."
RIDES = [hugadb.LABELS.index(label) for label in ("up_by_elevator", "down_by_elevator")]
EVERY = 6  # frames from one example to the next
STEPS, EXAMPLES, RATE, DECAY = 600, 2048, 5e-3, 0.05
State = dict[str, Tensor]


def configured(file: Path) -> NetworkConfig:
    """A configuration with this folder's classes."""
    return NetworkConfig.from_options(read_options(file), hugadb.LABELS)


def grow(old: State, old_config: NetworkConfig, net: RtStgcn) -> None:
    """Give ``net`` the weights ``old``, wherever they have their place in it."""
    state = net.state_dict()
    for name, value in state.items():
        if name == EMBEDDING:
            _embedding(value, old[name], old_config, net.config)
        elif not name.startswith(LIFTS):
            known = old[name]
            value[tuple(map(slice, known.shape))] = known
            if name == "fcn_in.bias":
                value[len(known) :] = 0
    net.load_state_dict(state)


def _embedding(value: Tensor, known: Tensor, before: NetworkConfig, after: NetworkConfig) -> None:
    """Columns of the streams that both have, and a row each for the lift streams in channels that are new."""
    assert before.sensors is not None and after.sensors is not None
    old, new = before.sensors.lift_windows, after.sensors.lift_windows
    value.zero_()
    rows = len(known)
    if old:  # before there were lift windows the first stream was another
        value[:rows, 0] = known[:, 0]
    value[:rows, 1 + len(new) :] = known[:, 1 + len(old) :]
    for i, window in enumerate(old):
        value[:rows, 1 + new.index(window)] = known[:, 1 + i]
    for i in range(len(value) - rows):
        value[rows + i, i] = 1


@torch.no_grad()
def examples(net: RtStgcn, data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Lift windows, logits and label of every sixth frame of the trials with lifts and of every fourth other one."""
    assert net.config.sensors is not None
    found = []
    for index, trial in enumerate(open_split(data, "train", len(hugadb.LABELS))):
        if (index % 4 and not np.isin(trial.labels, RIDES).any()) or len(trial) <= net.delay:
            continue
        x = torch.from_numpy(np.asarray(trial.features, np.float32))[None]
        lifts = net._streams(x)[0, net.delay :: EVERY, 0, net.config.sensors.lifts]
        labels = torch.from_numpy(trial.labels[: len(trial) - net.delay : EVERY].copy())
        found.append((lifts, net(x)[0, :, net.delay :: EVERY].t(), labels))
    lifts, logits, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return lifts, logits, labels


def fit(net: RtStgcn, lifts: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Train the ``lift_head`` to add what the logits lack."""
    assert net.lift_head is not None
    optimizer = torch.optim.AdamW(net.lift_head.parameters(), RATE, weight_decay=DECAY)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        some = torch.from_numpy(rng.integers(0, len(lifts), EXAMPLES))
        loss = F.cross_entropy(logits[some] + net.lift_head(lifts[some]), labels[some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].partition(":")[0])
    parser.add_argument("old", type=Path, help="configuration of the smaller network")
    parser.add_argument("weights", type=Path, help="its checkpoint")
    parser.add_argument("new", type=Path, help="configuration of the larger network")
    parser.add_argument("out", type=Path, help="checkpoint to write")
    parser.add_argument("--data", type=Path, required=True, help="the prepared dataset")
    args = parser.parse_args()
    torch.manual_seed(1)
    net = RtStgcn(configured(args.new)).eval()
    grow(checkpoint.load(args.weights)["model_state_dict"], configured(args.old), net)
    if net.lift_head is not None:
        before = RtStgcn(replace(net.config, average=0, lift_head=0)).eval()
        before.load_state_dict(net.state_dict(), strict=False)
        fit(net, *examples(before, args.data))
    checkpoint.save(args.out, {"model_state_dict": net.state_dict()})


if __name__ == "__main__":
    main()
