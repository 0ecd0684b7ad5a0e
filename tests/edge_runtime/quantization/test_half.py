"""Shows that an IMFE in fp16 is the same network, and streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_runtime.errors import InputError
from edge_runtime.models.file import load_model
from edge_runtime.quantization.half import to_fp16
from edge_runtime.streams import ImfeStream
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallImfe


def test_features_differ_by_no_more_than_halves_do(tmp_path: Path) -> None:
    original = load_model(SmallImfe.make().save(tmp_path / "imfe.onnx"))
    half = to_fp16(original)
    assert half.metadata.precision == "fp16"
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in half.proto.graph.initializer)
    random = np.random.default_rng(0)
    with ImfeStream(original) as a, ImfeStream(half) as b:
        for _ in range(12):
            frame = random.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            expected, found = a.step(frame), b.step(frame)
    assert expected is not None
    assert found is not None
    assert not np.array_equal(expected.features, found.features)
    np.testing.assert_allclose(found.features, expected.features, atol=5e-3)
    np.testing.assert_allclose(found.regions, expected.regions, atol=5e-3)


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an fp32 IMFE"):
        to_fp16(load_model(SmallGcn.make(LAYERS).save(tmp_path / "rtstgcn.onnx")))
