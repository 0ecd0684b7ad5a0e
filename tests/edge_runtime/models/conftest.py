"""One file of each kind, for every test of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe, SmallLstr


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "imfe": SmallImfe.make().save(folder / "imfe.onnx"),
        "clip": SmallImfe.make().save_clip_model(folder / "clip.onnx"),
        "lstr": SmallLstr.make().save(folder / "lstr.onnx"),
        "rtstgcn": SmallGcn.make(LAYERS).save(folder / "rtstgcn.onnx"),
    }
