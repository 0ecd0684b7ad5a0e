"""The machine's own ceiling: GMAC/s of a large matrix product in onnxruntime, fp32 and int8.

A stage's GMAC/s beside it says how far the stage is from what this processor can do, whatever the processor is.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.models.session import open_session

SIDE = 768  # beyond the caches of a small core, 0.45 GMAC a product
ROUNDS = 12


def gemm_peak(threads: int, *, int8: bool, shape: tuple[int, int, int] = (SIDE, SIDE, SIDE)) -> float:
    """GMAC/s of ``(m, k) @ (k, n)``, best of a few rounds: a ceiling is not a median."""
    m, k, n = shape
    random = np.random.default_rng(0)
    x_type = TensorProto.UINT8 if int8 else TensorProto.FLOAT
    weight = random.integers(-63, 64, (k, n)).astype(np.int8 if int8 else np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger" if int8 else "MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", x_type, (m, k))],
        [helper.make_tensor_value_info("y", TensorProto.INT32 if int8 else TensorProto.FLOAT, (m, n))],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session: ort.InferenceSession = open_session(model.SerializeToString(), threads=threads).ort
    x = random.integers(0, 255, (m, k)).astype(np.uint8 if int8 else np.float32)
    session.run(None, {"x": x})
    spent = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        session.run(None, {"x": x})
        spent.append(time.perf_counter() - begun)
    return m * k * n / min(spent) / 1e9


def efficiency(macs: int, seconds: list[float], peak: float) -> tuple[float, float]:
    """GMAC/s of a stage by its median time, and that as a part of the peak."""
    achieved = macs / statistics.median(seconds) / 1e9
    return achieved, achieved / peak
