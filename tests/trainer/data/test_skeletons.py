"""Shows that both published layouts are read as they are, and that every fault of a dataset is one clear line."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from trainer.data.skeletons import load_plain_pickle, open_split, read_label_file, save_trial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, length in (("b", 6), ("a", 4)):
        save_trial(tmp_path / "train", name, np.ones((2, length, 3), np.float32), np.arange(length) % 2)
    return tmp_path


def test_a_directory_is_read_sorted_by_name_and_left_on_disk(folder: Path) -> None:
    trials = open_split(folder, "train", 2)
    assert trials.names == ["a", "b"]
    assert trials.shape == (2, 3)
    assert trials.frames_per_class().tolist() == [5, 5]
    assert isinstance(trials.sources[0].features, np.memmap)
    assert trials[1].labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_of_several_bodies_the_first_is_used(tmp_path: Path) -> None:
    x = np.stack([np.zeros((2, 4, 3)), np.ones((2, 4, 3))], axis=-1)
    save_trial(tmp_path / "val", "one", x, np.zeros(4))
    assert open_split(tmp_path, "val", 1)[0].features.max() == 0


def test_one_file_holds_many_trials_with_a_label_each_or_a_label_a_frame(tmp_path: Path) -> None:
    np.save(tmp_path / "val_data.npy", np.zeros((2, 3, 5, 4, 1), np.float32))
    for labels in ([0, 1], [np.zeros(5, int), np.ones(5, int)]):
        (tmp_path / "val_label.pkl").write_bytes(pickle.dumps((["x", "y"], labels)))
        trials = open_split(tmp_path, "val", 2, "file")
        assert trials.names == ["x", "y"]
        assert [trial.labels.tolist() for trial in trials] == [[0] * 5, [1] * 5]
        assert trials[0].features.shape == (3, 5, 4)


@pytest.mark.parametrize("text", ["0\n1\n2\n", "0.0\n1.0\n2.0\n", "0,1,2\n", "label\n0\n1\n2\n", "0e0\n1.000e+00\n2\n"])
def test_labels_are_one_a_line_or_all_on_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    assert read_label_file(file).tolist() == [0, 1, 2]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/nowhere/owned"),)  # type: ignore[return-value]


def test_a_pickle_that_would_execute_code_is_refused_without_executing_it(tmp_path: Path) -> None:
    np.save(tmp_path / "val_data.npy", np.zeros((1, 3, 5, 4, 1), np.float32))
    (tmp_path / "val_label.pkl").write_bytes(pickle.dumps((["x"], [Evil()])))
    with pytest.raises(InputError, match=r"refused: it asks for pathlib.*nothing that executes"):
        open_split(tmp_path, "val", 2, "file")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_numpy_and_lists_are_read(protocol: int) -> None:
    content = (["a"], [np.arange(3), np.int64(4)])
    names, labels = load_plain_pickle(io.BytesIO(pickle.dumps(content, protocol)))
    assert names == ["a"]
    assert labels[0].tolist() == [0, 1, 2]
    assert labels[1] == 4


def broken(folder: Path, fault: str) -> None:
    features, labels = folder / "train" / "features" / "a.npy", folder / "train" / "labels" / "a.csv"
    match fault:
        case "short labels":
            labels.write_text("0\n1\n")
        case "no labels":
            labels.unlink()
        case "no features":
            features.unlink()
        case "label out of range":
            labels.write_text("0\n1\n7\n0\n")
        case "negative label":
            labels.write_text("0\n-1\n1\n0\n")
        case "word as label":
            labels.write_text("0\nwalking\n1\n0\n")
        case "half a label":
            labels.write_text("0\n0.5\n1\n0\n")
        case "NaN":
            x = np.ones((2, 4, 3))
            x[1, 2, 0] = np.nan
            np.save(features, x)
        case "empty trial":
            np.save(features, np.ones((2, 0, 3)))
            labels.write_text("")
        case "truncated":
            features.write_bytes(features.read_bytes()[:-20])
        case "cut header":
            features.write_bytes(features.read_bytes()[:20])
        case "objects":
            np.save(features, np.array([Evil()], dtype=object), allow_pickle=True)
        case "other nodes":
            np.save(features, np.ones((2, 4, 5)))
        case "two dimensions":
            np.save(features, np.ones((2, 4)))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("short labels", "4 frames but 2 labels"),
        ("no labels", "trial 'a' has no labels"),
        ("no features", "trial 'a' has no features"),
        ("label out of range", "label 7 is not among the 2 classes 0 to 1"),
        ("negative label", "label -1 is not among"),
        ("word as label", "expected class indices, found 'walking' on line 2"),
        ("half a label", "whole class indices, found 0.5"),
        ("NaN", "frame 2 holds a value that is not finite"),
        ("empty trial", "none of them 0"),
        ("truncated", "not a whole .npy file"),
        ("cut header", "not a whole .npy file"),
        ("objects", "not a whole .npy file of numbers"),
        ("other nodes", "2 channels and 5 nodes, the other trials have 2 and 3|2 channels and 3 nodes"),
        ("two dimensions", r"expected \(C, L, V\)"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(folder: Path, fault: str, message: str) -> None:
    broken(folder, fault)
    with pytest.raises(InputError, match=message) as caught:
        open_split(folder, "train", 2)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_an_absent_split_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected features/\*.npy and labels/\*.csv"):
        open_split(tmp_path, "val", 2)
