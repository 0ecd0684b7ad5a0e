"""Shows that stages changed one by one are one sound graph again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from edge_runtime.models.stages import cut
from edge_runtime.quantization.assembly import assemble
from tests.edge_runtime.streams.small_models import SmallImfe


def test_a_weight_that_two_stages_shared_may_become_one_stages_own(tmp_path: Path) -> None:
    """Shows it for equal biases, which exporters store once: int8 dequantises them in one stage, under the old name."""
    small = SmallImfe.make()
    original = onnx.load(small.save(tmp_path / "imfe.onnx"))
    original.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "shared"))
    for output in ("pair", "described"):
        at, node = next((i, n) for i, n in enumerate(original.graph.node) if output in n.output)
        node.output[0] = f"{output}.raw"
        original.graph.node.insert(at + 1, helper.make_node("Mul", [f"{output}.raw", "shared"], [output]))

    stages = {name: cut(original, stage) for name, stage in small.metadata.stages.items()}
    head = stages["head"].graph
    head.initializer.remove(next(weight for weight in head.initializer if weight.name == "shared"))
    head.initializer.append(numpy_helper.from_array(np.array(2, np.uint8), "shared_quantized"))
    head.initializer.append(numpy_helper.from_array(np.array(0.25, np.float32), "shared_scale"))
    head.node.insert(0, helper.make_node("DequantizeLinear", ["shared_quantized", "shared_scale"], ["shared"]))

    assembled = assemble(original, small.metadata, stages)

    random = np.random.default_rng(0)
    feeds = {
        value.name: random.integers(0, 256, shape).astype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in original.graph.input
        for shape in [[dim.dim_value for dim in value.type.tensor_type.shape.dim]]
    }
    expected, found = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
        for model in (original, assembled)
    )
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6)
