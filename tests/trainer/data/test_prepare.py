"""Shows that published layouts become datasets that the trainer opens; the real recordings where they are at hand."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from trainer.cli import main
from trainer.data.prepare import fall_openpose, hugadb, imu_fog_it, penn, pku_mmd, sp_sw_har, utkinect, write
from trainer.data.skeletons import open_split
from trainer.nets.graph import load_graph

DATA = Path(os.environ.get("EDGE_DATA", Path(__file__).parents[4] / "shared" / "data"))


def write_hugadb(folder: Path) -> np.ndarray:
    X = np.arange(20 * 36, dtype=np.int16).reshape(20, 36)
    np.savez(
        folder / "hugadb_v1_various.npz",
        X=X,
        y=np.array([1] * 5 + [11] * 7 + [8] * 8, np.uint8),
        offsets=np.array([0, 12, 20]),
        names=np.array(["various_02_00", "various_05_00"]),
        subject=np.array([2, 5], np.uint8),
    )
    return X


def test_hugadb_keeps_raw_values_in_the_files_own_order(tmp_path: Path) -> None:
    X = write_hugadb(tmp_path)
    assert write(hugadb, tmp_path, tmp_path / "out") == {"train": 1, "val": 1}
    trial = open_split(tmp_path / "out", "val", 10)[0]
    assert trial.features.dtype == np.int16
    np.testing.assert_array_equal(trial.features[4, :, 3], X[:12, 3 * 6 + 4])  # gyroscope y of the fourth sensor
    assert trial.labels.tolist() == [0] * 5 + [9] * 7
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["fps"] == 60


def test_named_groups_validate_and_an_unknown_one_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_hugadb(tmp_path)
    assert write(hugadb, tmp_path, tmp_path / "out", frozenset({"05"})) == {"train": 1, "val": 1}
    assert not caplog.messages
    assert write(hugadb, tmp_path, tmp_path / "all", frozenset({"02", "05"})) == {"val": 2}
    assert "name with --val some of the groups 02, 05" in caplog.text
    with pytest.raises(InputError, match="'99' is none of the groups 02, 05"):
        write(hugadb, tmp_path, tmp_path / "other", frozenset({"99"}))


def test_pku_mmd_reads_two_bodies_ranges_and_the_protocol(tmp_path: Path) -> None:
    for folder in ("skeleton", "label"):
        (tmp_path / folder).mkdir()
    for name in ("0002-L", "0003-M"):
        np.savetxt(tmp_path / "skeleton" / f"{name}.txt", np.arange(10 * 150).reshape(10, 150))
        (tmp_path / "label" / f"{name}.txt").write_text("7,2,5,1\n51,8,10,2\n")
    (tmp_path / "cross-view.txt").write_text("Training videos: \n0003-M, 0005-R\nValidataion videos:\n0002-L\n")
    assert write(pku_mmd, tmp_path, tmp_path / "out") == {"train": 1, "val": 1}
    trials = open_split(tmp_path / "out", "val", 52)
    assert trials.names == ["0002-L"]
    assert trials.sources[0].features.shape == (3, 10, 25, 2)
    assert trials[0].features[1, 0, 2] == 2 * 3 + 1  # y of the first body's third joint
    assert trials[0].labels.tolist() == [0, 0, 7, 7, 7, 0, 0, 0, 51, 51]
    with pytest.raises(InputError, match="this dataset offers cross-view, cross-subject"):
        write(pku_mmd, tmp_path, tmp_path / "out", protocol="cross-eye")


def test_utkinect_is_resampled_by_its_frame_numbers(tmp_path: Path) -> None:
    (tmp_path / "joints").mkdir()
    numbers = np.array([10, 10, 14, 16])
    table = np.column_stack([numbers, np.repeat(numbers[:, None], 60, axis=1)])
    np.savetxt(tmp_path / "joints" / "joints_s09_e01.txt", table)
    (tmp_path / "labels").write_text("s09_e01\nwalk: 12 14\ncarry: NaN NaN\n")
    write(utkinect, tmp_path, tmp_path / "out")
    trial = open_split(tmp_path / "out", "val", 11)[0]
    assert trial.features[0, :, 0].tolist() == [10, 12, 14, 16]
    assert trial.labels.tolist() == [0, 1, 1, 0]


def test_imu_fog_it_is_a_table_a_trial(tmp_path: Path) -> None:
    table = np.column_stack([np.arange(3 * 42).reshape(3, 42), [0, 7, 1]])
    np.savetxt(tmp_path / "S1_walk.csv", table, delimiter=",", header="acc,...", comments="")
    write(imu_fog_it, tmp_path, tmp_path / "out", frozenset({"S1"}))
    trial = open_split(tmp_path / "out", "val", 8)[0]
    assert trial.features.shape == (6, 3, 7)
    assert trial.features[:, 0, 1].tolist() == [6, 7, 8, 9, 10, 11]
    assert trial.labels.tolist() == [0, 7, 1]


def test_fall_keeps_the_last_pose_while_nobody_is_found(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "raw_skeletons.tar.gz", "w:gz") as archive:
        for i, picture in enumerate((1, 2, 5)):
            person = [1, 1, picture, "Falling", f"Falling_08/{picture:05d}.png", *[float(picture)] * 36]
            content = json.dumps([person]).encode()
            entry = tarfile.TarInfo(f"./skeleton_res/{i:05d}.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    write(fall_openpose, tmp_path, tmp_path / "out")
    trial = open_split(tmp_path / "out", "val", 3)[0]
    assert trial.features[0, :, 0].tolist() == [1, 2, 2, 2, 5]
    assert set(trial.labels) == {1}


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_a_damaged_archive_is_one_line_and_exit_code_2(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hugadb_v1_various.npz").write_bytes(content)
    assert main(["prepare", "hugadb", "--source", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("dataset", [hugadb, utkinect, penn, sp_sw_har, fall_openpose, pku_mmd, imu_fog_it])
def test_a_datasets_graph_is_packaged(dataset: object) -> None:
    assert load_graph(dataset.GRAPH).num_node > 0  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "folder", "shape", "trials"),
    [
        (hugadb, "hugadb", (6, 6), 286),
        (utkinect, "utkinect", (3, 20), 16),
        (penn, "penn_action", (3, 13), 1781),
        (sp_sw_har, "sp_sw_har", (6, 1), 350),
        (fall_openpose, "fall_openpose", (2, 18), 16),
    ],
)
def test_the_real_recordings_open(
    tmp_path: Path, dataset: object, folder: str, shape: tuple[int, int], trials: int
) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"no recordings at {DATA / folder}; EDGE_DATA names their folder")
    count = write(dataset, DATA / folder, tmp_path, frozenset())  # type: ignore[arg-type]
    opened = open_split(tmp_path, "train", len(dataset.LABELS))  # type: ignore[attr-defined]
    assert sum(count.values()) == len(opened) == trials
    assert opened.shape == shape == (shape[0], load_graph(dataset.GRAPH).num_node)  # type: ignore[attr-defined]
