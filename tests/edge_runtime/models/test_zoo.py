"""A name stands for a packaged model whose hash is checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from edge_runtime import InputError
from edge_runtime.models import zoo


@pytest.fixture
def packaged(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo with one model of two files in place of the packaged one."""
    folder = tmp_path / "toy"
    folder.mkdir()
    hashes = {}
    for kind in ("imfe", "rtstgcn"):
        shutil.copy(models[kind], folder / f"{kind}.onnx")
        hashes[f"{kind}.onnx"] = hashlib.sha256(models[kind].read_bytes()).hexdigest()
    registry = tmp_path / "registry.json"
    entry = {"files": hashes, "licence": "CC0", "metrics": {"accuracy": 0.5}, "description": "a toy"}
    registry.write_text(json.dumps({"schema": 1, "models": {"toy": entry}}))
    original = zoo.entries.__wrapped__
    monkeypatch.setattr(zoo, "entries", lambda: original(registry))
    return folder


def test_a_name_resolves_to_its_files(packaged: Path) -> None:
    assert zoo.locate("toy") == packaged / "imfe.onnx"
    assert zoo.locate("toy/rtstgcn.onnx") == packaged / "rtstgcn.onnx"
    assert zoo.locate(packaged / "imfe.onnx") == packaged / "imfe.onnx"
    assert zoo.head_beside(zoo.locate("toy")) == packaged / "rtstgcn.onnx"
    assert zoo.head_beside(packaged / "rtstgcn.onnx") is None


def test_a_folder_of_the_same_name_does_not_hide_a_packaged_model(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "toy").mkdir(parents=True)
    (elsewhere / "other").mkdir()
    monkeypatch.chdir(elsewhere)
    assert zoo.locate("toy") == packaged / "imfe.onnx"
    assert zoo.locate("other") == Path("other")  # which load_model refuses, and says why
    (elsewhere / "toy").rmdir()
    (elsewhere / "toy").touch()
    assert zoo.locate("toy") == Path("toy")


def test_a_path_that_no_file_system_takes_is_one_line(packaged: Path) -> None:
    with pytest.raises(InputError, match="File name too long; check the path"):
        zoo.locate("a" * 300)


def test_an_unknown_name_lists_what_there_is(packaged: Path) -> None:
    with pytest.raises(InputError, match="model 'tiger': no such file, nor a packaged model; packaged are: toy"):
        zoo.locate("tiger")
    with pytest.raises(InputError, match="packaged are: toy"):
        zoo.locate("toy/other.onnx")


def test_a_packaged_file_must_hash_to_its_entry(packaged: Path, models: dict[str, Path]) -> None:
    """Shows that the hash is checked by name and by path alike."""
    assert zoo.open_model("toy").metadata.kind == "imfe"
    shutil.copy(models["rtstgcn"], packaged / "imfe.onnx")
    for reference in ("toy", packaged / "imfe.onnx"):
        with pytest.raises(InputError, match="sha256 expected"):
            zoo.open_model(reference)


def test_a_damaged_registry(tmp_path: Path) -> None:
    registry = tmp_path / "registry.json"
    assert zoo.entries(registry) == {}
    for text in ("{", "[]", '{"models": {"a": {}}}', '{"models": 3}'):
        zoo.entries.cache_clear()
        registry.write_text(text)
        with pytest.raises(InputError, match="not a model registry"):
            zoo.entries(registry)


def test_the_packaged_registry_is_sound() -> None:
    """Shows that every packaged file is there and is what its entry says."""
    for entry in zoo.entries().values():
        for name in entry.sha256:
            assert zoo.open_model(entry.folder / name).sha256 == entry.sha256[name]
