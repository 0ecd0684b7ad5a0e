"""Shows that published configurations load as they are, that extras are kept and shown, and that a typo is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.errors import InputError
from trainer.cli import main
from trainer.engine.options import override, read_training

COMPAT = Path(__file__).parents[4] / "shared" / "compat"


def published() -> dict[str, Any]:
    """The new dialect, with the keys that only its authors' cluster needs."""
    return {
        "processor": {
            "model": "rt-st-gcn",
            "data": "data/pku",
            "dataset_type": "dir",
            "out": "pretrained/pku",
            "backup": "elsewhere",
            "actions": "data/pku/actions.txt",
            "graph": "pku-mmd.json",
            "demo": [175, 293],
            "iou_threshold": [0.1, 0.25, 0.5],
            "backend": "x86",
        },
        "arch": {"segment": 500, "in_feat": 3, "rt-st-gcn": {}},
        "optimizer": {
            "seed": 1538574472,
            "epochs": 50,
            "checkpoint_indices": [9, 19],
            "learning_rate": 0.0005,
            "learning_rate_decay": 1.0,
            "batch_size": 64,
        },
        "job": {"email": "", "log": [None, None], "verbose": 0},
    }


def old_dialect() -> dict[str, Any]:
    raw = published()
    raw["model"] = {**raw.pop("processor"), "segment": 100, "layers": [9], "kernel": [9]}
    raw["job"]["demo"] = raw["model"].pop("demo")
    del raw["arch"]
    return raw


def test_both_dialects_say_the_same() -> None:
    new, old = read_training(published(), "new.json"), read_training(old_dialect(), "old.json")
    assert new.data == old.data
    assert new.optimizer == old.optimizer
    assert (new.segment, old.segment) == (500, 100)
    assert new.unknown == old.unknown == ()
    assert new.data.demo == (175, 293)
    assert new.optimizer.batch_size == 64


@pytest.mark.parametrize(
    "name", ["config_rtstgcn_pku-mmd", "config_costgcn_pku-mmd", "config_rtstgcn_imu-fogit_old-dialect"]
)
def test_the_published_files_load_unchanged(name: str) -> None:
    file = COMPAT / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"no published configuration at {file}")
    options = read_training(json.loads(file.read_text()), name)
    assert options.optimizer.learning_rate == 0.0005
    assert options.unknown == ()


def test_an_extra_is_kept_and_named() -> None:
    raw = published()
    raw["optimizer"]["lookahead"] = 3
    assert read_training(raw, "c.json").unknown == ("optimizer.lookahead",)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("optimizer", "learning_rat", 1, "did you mean 'learning_rate'"),
        ("optimizer", "bach_size", 1, "did you mean 'batch_size'"),
        ("processor", "dataset_typ", "dir", "did you mean 'dataset_type'"),
        ("loss", "smothing", 0.1, "did you mean 'smoothing'"),
        ("augment", "time_wrap", 0.1, "did you mean 'time_warp'"),
        ("optimizer", "epochs", "many", "expected a whole number >= 0, found 'many'"),
        ("optimizer", "epochs", -1, "expected a whole number >= 0, found -1"),
        ("optimizer", "epochs", True, "expected a whole number"),
        ("optimizer", "learning_rate", None, "expected a number"),
        ("optimizer", "schedule", "cosin", "expected one of 'constant', 'cosine', 'step'"),
        ("processor", "demo", 3, "expected a list"),
        ("processor", "dataset_type", "zip", "expected one of 'dir', 'file'"),
        ("augment", "sides", [[1, 2, 3]], "expected 2 values"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(section: str, key: str, value: object, message: str) -> None:
    raw = published()
    raw.setdefault(section, {})[key] = value
    with pytest.raises(InputError, match=message) as caught:
        read_training(raw, "c.json")
    assert "\n" not in str(caught.value)


def test_overrides_change_one_value_and_leave_the_original() -> None:
    raw = published()
    changed = override(raw, ["optimizer.epochs=3", "loss.kind=focal", "arch.rt-st-gcn.taps=[1, 2]"])
    assert changed["optimizer"]["epochs"] == 3
    assert changed["loss"] == {"kind": "focal"}
    assert changed["arch"]["rt-st-gcn"]["taps"] == [1, 2]
    assert raw["optimizer"]["epochs"] == 50
    for text in ("epochs=3", "optimizer.epochs", "optimizer.epochs.x=1"):
        with pytest.raises(InputError, match="--set"):
            override(raw, [text])


def run(raw: dict[str, Any], tmp_path: Path, *extra: str, command: str = "train") -> int:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(raw))
    return main(["rtstgcn", command, "--config", str(config), "--device", "cpu", *extra])


def test_the_commands_work_from_a_configuration_to_pictures(raw: dict[str, Any], tmp_path: Path) -> None:
    raw["processor"]["demo"] = [0, 1, 175]  # published files name trials that a small split has not
    assert run(raw, tmp_path, "--debug") == 0
    assert run(raw, tmp_path, command="test") == 0
    out = tmp_path / "out"
    for name in ("best.pt", "last.pt", "config.json", "history.csv", "curves.png"):
        assert (out / name).stat().st_size > 0
    for name in (
        "metrics.json",
        "trials.csv",
        "confusion.csv",
        "confusion.png",
        "mask_trial_0.png",
        "mask_trial_1.png",
    ):
        assert (out / "test" / name).stat().st_size > 0
    assert json.loads((out / "test" / "metrics.json").read_text()).keys() >= {
        "accuracy",
        "f1@50",
        "pooled_f1@50",
        "edit",
    }


def test_the_configuration_that_a_run_leaves_needs_nothing_beside_it(raw: dict[str, Any], tmp_path: Path) -> None:
    """Shows that it tells the folders of the command line, the dataset's classes and the graph of a file."""
    data, out = raw["processor"]["data"], tmp_path / "elsewhere"
    graph = raw["processor"]["graph"]
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    raw["processor"] |= {"data": "nowhere", "out": "nowhere", "graph": "mine.json"}
    assert run(raw, tmp_path, "--debug", "--data", data, "--out", str(out)) == 0
    kept = json.loads((out / "config.json").read_text())["processor"]
    assert (kept["data"], kept["out"], kept["actions"]) == (data, str(out), ["rest", "wave", "jump"])
    assert kept["graph"] == graph
    assert main(["rtstgcn", "test", "--config", str(out / "config.json"), "--device", "cpu"]) == 0
    export = ["--config", str(out / "config.json"), "--checkpoint", str(out / "best.pt"), "--out", str(out / "x.onnx")]
    assert main(["rtstgcn", "export", *export]) == 0


@pytest.mark.slow  # quantizes four times
def test_a_benchmark_compares_fp32_ptq_and_qat(raw: dict[str, Any], tmp_path: Path) -> None:
    """Shows that weights trained for int8 stand beside the others, each int8 file held to the fp32 of its weights."""
    raw["arch"]["rt-st-gcn"] |= {"in_ch": 32, "out_ch": 32}
    out = tmp_path / "out"
    assert run(raw, tmp_path, "--debug") == 0
    tuned = "--init", str(out / "best.pt"), "--out", str(tmp_path / "qat"), "--set", "optimizer.qat=true"
    assert run(raw, tmp_path, "--debug", *tuned) == 0
    assert run(raw, tmp_path, "--qat", str(tmp_path / "qat" / "best.pt"), command="benchmark") == 0
    rows = json.loads((out / "benchmark" / "benchmark.json").read_text())
    kinds = ("fp32", "int8-dynamic", "int8-static")
    assert [row["model"] for row in rows] == [f"{kind}{of}.onnx" for of in ("", "-qat") for kind in kinds]
    assert [row["agreement"] for row in rows if row["model"].startswith("fp32")] == [1.0, 1.0]
    assert all(row["kB"] < rows[0]["kB"] for row in rows if row["model"].startswith("int8"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": {"in_feat": 5}}, "trials have 2 channels and 3 nodes, the configuration says 5 and 3"),
        ({"processor": {"data": "/nowhere"}}, "no action list"),
        ({"processor": {"model": "rt-stgcn"}}, "unknown network"),
        ({"optimizer": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"processor": {"model": "shift-gcn"}, "optimizer": {"every": 2}}, "computes every frame"),
        ({"processor": {"model": "co-st-gcn"}, "optimizer": {"qat": True}}, "'optimizer.qat' is for rt-st-gcn"),
    ],
)
def test_a_bad_run_ends_before_training_with_exit_code_2(
    raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    for section, values in change.items():
        raw[section] |= values
    raw["arch"][raw["processor"]["model"]] = raw["arch"]["rt-st-gcn"]
    assert run(raw, tmp_path) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert not (tmp_path / "out" / "last.pt").exists()


def test_a_missing_checkpoint_is_one_line(
    raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raw, tmp_path, command="test") == 2
    assert "no such checkpoint" in capsys.readouterr().err


def test_a_configuration_of_another_network_is_refused(
    raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(raw))
    assert main(["msgcn", "train", "--config", str(config)]) == 2
    assert "is a configuration of rt-st-gcn, this command's is ms-gcn" in capsys.readouterr().err
