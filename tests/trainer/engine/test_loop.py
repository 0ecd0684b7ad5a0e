"""Shows that a run does what its configuration says, and that killing it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.data.skeletons import open_split
from trainer.engine import loop
from trainer.engine.distributed import World
from trainer.engine.loop import BEST, LAST, Progress, batches, train, transfer
from trainer.engine.options import read_training
from trainer.nets.config import options_of
from trainer.nets.family import build

LABELS = ("rest", "wave", "jump")
ALONE = World(0, 1, torch.device("cpu"))


class KilledError(Exception):
    pass


def run(raw: dict[str, Any], resume: bool = False) -> Progress:
    options = read_training(raw, "test.json")
    checkpoint.seed_everything(options.optimizer.seed)
    net = build(options_of(raw, "test.json"), LABELS)
    trials = [open_split(options.data.data, split, 3) for split in ("train", "val")]
    return train(net, trials[0], trials[1], options, ALONE, resume=resume)


def weights(raw: dict[str, Any], name: str = LAST) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoint.load(Path(raw["processor"]["out"]) / name)["model_state_dict"]
    return state


@pytest.mark.parametrize("after", [1, 4, 6])
def test_a_run_killed_after_any_step_ends_as_if_it_had_not_been(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run(raw)
    expected = weights(raw)
    raw["processor"]["out"] = str(tmp_path / "killed")
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)  # a checkpoint after each step
    steps = 0
    step = loop._Run._step

    def dies(self: loop._Run, batch: list[int]) -> float:
        nonlocal steps
        if steps == after:
            raise KilledError
        steps += 1
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_step", dies)
        with pytest.raises(KilledError):
            run(raw)
    run(raw, resume=True)
    for name, value in weights(raw).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_seed_makes_the_same_network_twice(raw: dict[str, Any], tmp_path: Path) -> None:
    run(raw)
    first = weights(raw)
    raw["processor"]["out"] = str(tmp_path / "again")
    run(raw)
    assert all(torch.equal(value, first[name]) for name, value in weights(raw).items())


def test_what_is_left_says_what_happened(raw: dict[str, Any]) -> None:
    progress = run(raw)
    out = Path(raw["processor"]["out"])
    assert (out / BEST).is_file()
    lines = (out / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + raw["optimizer"]["epochs"]
    assert {"epoch", "loss", "accuracy", "f1@50", "pooled_f1@50", "map"} <= set(lines[0].split(","))
    assert progress.best == max(record["f1@50"] for record in progress.history)


def test_training_stops_when_nothing_gets_better(raw: dict[str, Any]) -> None:
    raw["optimizer"] |= {"patience": 2, "epochs": 50, "learning_rate": 0.0, "ema": 0}
    assert run(raw).epoch == 3  # the first epoch is the best, two more bring nothing


def test_an_epoch_holds_every_trial_once(raw: dict[str, Any]) -> None:
    options = read_training(raw, "test.json")
    trials = open_split(options.data.data, "train", 3)
    for epoch in (0, 1):
        assert sorted(i for batch in batches(trials, options.optimizer, epoch) for i in batch) == [0, 1, 2, 3, 4]
    assert batches(trials, options.optimizer, 0) != batches(trials, options.optimizer, 1)


def test_crops_run_together(raw: dict[str, Any]) -> None:
    raw["optimizer"] |= {"crop": 24, "together": 2, "class_weights": "inverse_root"}
    assert run(raw).history[-1]["loss"] > 0


def test_mixed_precision_trains_nearly_as_float32(raw: dict[str, Any], tmp_path: Path) -> None:
    """Shows that bfloat16 changes the weights, by no more than its rounding does."""
    run(raw)
    expected = weights(raw)
    raw["optimizer"]["amp"] = True
    raw["processor"]["out"] = str(tmp_path / "amp")
    run(raw)
    moved = torch.cat([(value - expected[name]).flatten() for name, value in weights(raw).items()])
    assert 0 < moved.norm() < 0.05 * torch.cat([value.flatten() for value in expected.values()]).norm()


def test_training_for_int8_leaves_weights_in_float32(raw: dict[str, Any]) -> None:
    """Shows that the rounding is in training only: the weights that are kept are not on the grid of int8."""
    raw["arch"]["rt-st-gcn"] |= {"in_ch": 32, "out_ch": 32}
    raw["optimizer"] |= {"qat": True}
    assert run(raw).history[-1]["accuracy"] > 0
    weight = weights(raw)["st_gcn.0.conv.weight"].view(3, 32, 32)  # (partition, out, in)
    assert len(weight.unique()) > 0.9 * weight.numel()  # type: ignore[no-untyped-call]


def test_resuming_with_another_configuration_is_refused(raw: dict[str, Any]) -> None:
    run(raw)
    raw["optimizer"]["epochs"] = 9
    with pytest.raises(InputError, match="resume with the same configuration"):
        run(raw, resume=True)


def test_an_unknown_monitor_is_named(raw: dict[str, Any]) -> None:
    raw["optimizer"]["monitor"] = "f1@51"
    with pytest.raises(InputError, match=r"unknown metric 'f1@51'; there are"):
        run(raw)


def test_weights_that_fit_are_taken_from_another_network(raw: dict[str, Any]) -> None:
    run(raw)
    file = Path(raw["processor"]["out"]) / BEST
    raw["arch"]["rt-st-gcn"] |= {"layers": 3}
    net = build(options_of(raw, "test.json"), LABELS)
    taken, total = transfer(net, file)
    assert 0 < taken < total
    torch.testing.assert_close(net.state_dict()["fcn_in.weight"], weights(raw, BEST)["fcn_in.weight"])
