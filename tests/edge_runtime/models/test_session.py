"""A session runs where it was asked to, or says that it does not."""

from __future__ import annotations

import subprocess
import sys
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


_RUN_TWICE = """
import sys
import numpy as np, psutil
from onnx import TensorProto, helper
from edge_runtime.memory import on_pages_of_its_own
from edge_runtime.models.session import open_session

shape = (4, 1024, 1024)  # 17 MB, of which four must be there at once
nodes = [helper.make_node(op, ["x"], [op]) for op in ("Exp", "Sin", "Cos", "Tan")]
nodes += [helper.make_node("Sum", ["Exp", "Sin", "Cos", "Tan"], ["s"]), helper.make_node("ReduceMax", ["s"], ["y"])]
x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), helper.make_tensor_value_info("y", 1, [1, 1, 1])
model = helper.make_model(
    helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
)
with on_pages_of_its_own():
    session = open_session(model.SerializeToString())
    if sys.argv[1] == "settled":
        session.settle()
    feed = {"x": np.zeros(shape, np.float32)}
    for _ in range(2):
        session.ort.run(None, feed)
    print(psutil.Process().memory_info().rss / 1e6)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_settled_session_holds_its_tensors_once() -> None:
    def resident_mb(how: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", _RUN_TWICE, how], check=True, capture_output=True, text=True, timeout=60
        )
        return float(done.stdout)

    assert resident_mb("settled") < resident_mb("as it comes") - 30
