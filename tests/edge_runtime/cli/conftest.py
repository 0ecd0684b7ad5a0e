"""Small models on disk, and edge-run as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge_runtime.cli.run import main
from edge_runtime.models.metadata import RtStgcnLayer
from tests.edge_runtime.sources.clips import write_video
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe, SmallLstr


@dataclass(frozen=True)
class Inputs:
    """What a run needs: ``imfe.onnx`` with ``rtstgcn.onnx`` and ``lstr.onnx`` beside it, ``skeleton.onnx``, a clip of
    60 frames."""

    folder: Path
    imfe: Path
    lstr: Path
    skeleton: Path
    clip: Path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    imfe = SmallImfe.make().save(folder / "imfe.onnx")
    layers = (RtStgcnLayer(7, 6, taps=4, dilation=1), RtStgcnLayer(6, 6, taps=3, dilation=2))
    head = SmallGcn.make(layers, nodes=6, in_channels=7)
    replace(head, metadata=replace(head.metadata, source="regions", fps=5.0)).save(folder / "rtstgcn.onnx")
    skeleton = SmallGcn.make(LAYERS).save(folder / "skeleton.onnx")
    lstr = SmallLstr.make().save(folder / "lstr.onnx")
    return Inputs(folder, imfe, lstr, skeleton, write_video(folder / "clip.mp4", 60))


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def edge_run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capfd.readouterr())

    return run
