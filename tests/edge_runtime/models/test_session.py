"""A session runs where it was asked to, or says that it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime import InputError, RtStgcnStream
from edge_runtime.models import session as sessions
from edge_runtime.models.session import Session, best_provider, open_session
from edge_runtime.streams import rtstgcn
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn


def test_an_absent_provider_falls_back_and_says_so(models: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    stream = RtStgcnStream(models["rtstgcn"], provider="cuda")
    assert stream.providers == {"rtstgcn": "cpu"}
    assert "provider cuda is not in this onnxruntime build" in caplog.text


def test_auto_is_a_gpu_where_the_build_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_provider() == "cpu"
    both = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: both)
    assert best_provider() == "cuda"


def test_unusable_arguments(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="provider 'abacus': expected one of cpu"):
        RtStgcnStream(models["rtstgcn"], provider="abacus")
    with pytest.raises(InputError, match="threads: expected at least 1, found 0"):
        RtStgcnStream(models["rtstgcn"], threads=0)
    with pytest.raises(InputError, match="stage: onnxruntime refuses the model"):
        open_session(b"nothing", name="stage")


def test_a_provider_that_copies_at_bind_time_gives_the_same(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that binding every input anew each run, as a GPU needs it, changes no number."""
    x = np.random.default_rng(0).standard_normal((30, 3, 5)).astype(np.float32)
    expected = RtStgcnStream(models["rtstgcn"]).steps(x)

    def copying(data: bytes, *, threads: int, provider: str, name: str) -> Session:
        opened = sessions.open_session(data, threads=threads, provider=provider, name=name)
        return Session(opened.ort, "elsewhere")

    monkeypatch.setitem(sessions.DEVICE_MEMORY, "elsewhere", "not this memory")
    monkeypatch.setattr(rtstgcn, "open_session", copying)
    np.testing.assert_array_equal(RtStgcnStream(models["rtstgcn"]).steps(x), expected)


def test_streams_accept_a_loaded_model(models: dict[str, Path]) -> None:
    from edge_runtime.models.file import load_model

    file = load_model(models["rtstgcn"])
    assert RtStgcnStream(file).sha256 == file.sha256
    assert RtStgcnStream(file).metadata == SmallGcn.make(LAYERS).metadata
