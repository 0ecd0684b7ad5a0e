"""Static int8: ranges seen on real data, then quantise-dequantise pairs around the operators that gain by them.

Convolutions want this and not dynamic quantisation: onnxruntime computes ConvInteger slower than fp32, while a
convolution between two QDQ pairs becomes one QLinearConv. Activations are uint8, weights int8 per output channel.
"""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

Feed = Mapping[str, npt.NDArray[Any]]
Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


def measure_ranges(
    model: onnx.ModelProto, feeds: Iterable[Feed], method: Method, operators: Collection[str]
) -> TensorsData:
    """The range of every activation at the inputs and outputs of ``operators``.

    Args:
        model: with concrete input shapes.
        feeds: what the model is fed with, one run each; not kept, so that a camera's worth fits a small device.
        method: ``minmax`` keeps every value; ``percentile`` cuts the rarest 1e-5; ``entropy`` keeps most information.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(operators),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=_METHODS[method],
        )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a line a run, where results may go
            for feed in feeds:
                # one run at a time: it holds every activation of a reader's runs until it has summed them up
                calibrator.collect_data(_One(feed))
            return calibrator.compute_data()


class _One(CalibrationDataReader):  # type: ignore[misc]
    """A reader of one feed."""

    def __init__(self, feed: Feed) -> None:
        self._feeds: Iterator[Feed] = iter([feed])

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def insert_qdq(
    model: onnx.ModelProto, ranges: TensorsData, operators: Collection[str], *, keep_float: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of ``model`` with ``operators`` in int8, but for the nodes named in ``keep_float``.

    Weights get 7 bits, as in ``matmul``: the file must give the same sums on a processor that adds products in 16 bits.
    """
    quantizer = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=list(keep_float),
        op_types_to_quantize=list(operators),
        extra_options={},
    )
    quantizer.quantize_model()
    quantised: onnx.ModelProto = quantizer.model.model
    return quantised


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Cosine between two arrays of one shape, as flat vectors; 1 where both are zero."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else float(np.array_equal(x, y))
