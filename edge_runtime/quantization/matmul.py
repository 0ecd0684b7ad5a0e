"""int8 MatMul against a constant matrix: weights per output channel, activations per tensor.

Two forms of the same product:

- *dynamic*: the input's range is measured at every run. Nothing to calibrate; one pass over the input each time.
- *static*: the input's range is fixed, learnt from calibration data. No pass, but a range that real input may leave.

Weights use 7 bits. On x86 without VNNI the u8 x s8 kernels add pairs of products in 16 bits and saturate with 8-bit
weights (255 * 127 * 2 > 32767, 255 * 63 * 2 does not): silently wrong sums on one machine of a file that is right on
another. The bit costs less than the activations' rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT_MAX = 63  # 7 bits, see above
ACTIVATION_MAX = 255
MIN_WEIGHTS = 2048  # below this a product is over before its quantization
MIN_CONSTANT = 1024  # elements of a constant worth storing in half

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class WeightMatMul:
    """A MatMul of an activation with a constant ``(inner, outer)`` matrix, named by its output tensor."""

    output: str
    activation: str
    weight: str
    inner: int
    outer: int


def find(model: onnx.ModelProto) -> list[WeightMatMul]:
    """Every MatMul that can be quantized, in graph order. Products whose constant is on the left (the adjacency of a
    graph layer, 25 columns) are not among them: they are too short to win."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights or node.input[0] in weights:
            continue
        dims = weights[node.input[1]].dims
        if len(dims) == 2 and dims[0] * dims[1] >= MIN_WEIGHTS:
            found.append(WeightMatMul(node.output[0], node.input[0], node.input[1], dims[0], dims[1]))
    return found


def alone(weight: npt.NDArray[np.float32], rows: int) -> onnx.ModelProto:
    """``y = x @ weight`` as a model of its own, to be timed: ``x`` (1, rows, inner), ``weight`` (inner, outer)."""
    inner, outer = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, rows, inner))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, rows, outer))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantize(
    model: onnx.ModelProto, dynamic: Collection[str] = (), static: Mapping[str, Range] | None = None
) -> onnx.ModelProto:
    """A copy of ``model`` with the named MatMuls in int8.

    Args:
        dynamic: output tensors of the MatMuls to quantize dynamically.
        static: output tensor -> (least, greatest) value of its activation.

    The other large constants (normalisation, biases) are stored in half precision and widened when the session opens:
    half the bytes, no work at run time, an error far below int8's.
    """
    static = static or {}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[np.generic]] = {}
    for node in model.graph.node:
        output = node.output[0]
        if output in static:
            nodes += _static(node, weights[node.input[1]], static[output], constants)
        elif output in dynamic:
            nodes += _dynamic(node, weights[node.input[1]], constants)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    for tensor in kept:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= MIN_CONSTANT:
            half = f"{tensor.name}.half"
            result.graph.node.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
            tensor = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half)
        result.graph.initializer.append(tensor)
    result.graph.node.extend(nodes)
    onnx.checker.check_model(result)
    return result


def quantize_weight(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """``(inner, outer)`` -> the nearest int8 matrix and the scale of each of its columns."""
    scale = np.maximum(np.abs(weight).max(axis=0) / WEIGHT_MAX, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


def _dynamic(
    node: onnx.NodeProto, weight: npt.NDArray[np.float32], constants: dict[str, npt.NDArray[np.generic]]
) -> list[onnx.NodeProto]:
    """The operators that onnxruntime fuses into one DynamicQuantizeMatMul."""
    name = node.output[0]
    integers, scale = quantize_weight(weight)
    constants |= {f"{name}.q.int8": integers, f"{name}.q.scale": scale, f"{name}.q.zero": np.zeros(len(scale), np.int8)}
    chain = [
        ("DynamicQuantizeLinear", [node.input[0]], [f"{name}.q.x", f"{name}.q.x.scale", f"{name}.q.x.zero"]),
        ("MatMulInteger", [f"{name}.q.x", f"{name}.q.int8", f"{name}.q.x.zero", f"{name}.q.zero"], [f"{name}.q.sum"]),
        ("Cast", [f"{name}.q.sum"], [f"{name}.q.float"]),
        ("Mul", [f"{name}.q.x.scale", f"{name}.q.scale"], [f"{name}.q.unit"]),
        ("Mul", [f"{name}.q.float", f"{name}.q.unit"], [name]),
    ]
    return [
        helper.make_node(op, inputs, outputs, name=outputs[0], to=TensorProto.FLOAT if op == "Cast" else None)
        for op, inputs, outputs in chain
    ]


def _static(
    node: onnx.NodeProto,
    weight: npt.NDArray[np.float32],
    activation: Range,
    constants: dict[str, npt.NDArray[np.generic]],
) -> list[onnx.NodeProto]:
    """Quantize and dequantize around the product (QDQ); onnxruntime runs it in integers."""
    name = node.output[0]
    integers, scale = quantize_weight(weight)
    low, high = min(activation[0], 0.0), max(activation[1], 0.0)
    step = np.float32(max(high - low, 1e-12) / ACTIVATION_MAX)
    constants |= {
        f"{name}.q.int8": integers,
        f"{name}.q.scale": scale,
        f"{name}.q.zero": np.zeros(len(scale), np.int8),
        f"{name}.q.x.scale": np.array(step, np.float32),
        f"{name}.q.x.zero": np.array(np.rint(-low / step), np.uint8),
    }
    x = [f"{name}.q.x.scale", f"{name}.q.x.zero"]
    return [
        helper.make_node("QuantizeLinear", [node.input[0], *x], [f"{name}.q.x"], name=f"{name}.q.x"),
        helper.make_node("DequantizeLinear", [f"{name}.q.x", *x], [f"{name}.q.x.float"], name=f"{name}.q.x.float"),
        helper.make_node(
            "DequantizeLinear",
            [f"{name}.q.int8", f"{name}.q.scale", f"{name}.q.zero"],
            [f"{name}.q.weight"],
            name=f"{name}.q.weight",
            axis=1,
        ),
        helper.make_node("MatMul", [f"{name}.q.x.float", f"{name}.q.weight"], [name], name=name),
    ]
