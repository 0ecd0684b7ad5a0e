"""Small models of the two contracts, built with onnx alone, each beside the same mathematics in plain numpy.

The runtime's tests need no torch and no trained file: these are the networks they run.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.models.metadata import (
    Graph,
    ImfeMetadata,
    LstrMemory,
    LstrMetadata,
    Metadata,
    RtStgcnLayer,
    RtStgcnMetadata,
    Stage,
    to_props,
)

Array = npt.NDArray[np.float64]
OPSET = 17


def save(graph: onnx.GraphProto, metadata: Metadata | None, path: Path) -> Path:
    """Write a graph as a model file that carries ``metadata``."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, to_props(metadata))
    path.write_bytes(model.SerializeToString())
    return path


def _float(name: str, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


@dataclass(frozen=True)
class SmallGcn:
    """An RT-ST-GCN with partitions, BatchNorm-like scale, residuals (delayed if asked) and a mean over nodes.

    Layers with a window have a learnt kernel (taps, C, C) over it, newest frame first, as CoST-GCN's.
    """

    metadata: RtStgcnMetadata
    weights: dict[str, npt.NDArray[np.float32]]

    @classmethod
    def make(
        cls,
        layers: tuple[RtStgcnLayer, ...],
        *,
        nodes: int = 5,
        in_channels: int = 3,
        classes: int = 4,
        partitions: int = 2,
        seed: int = 0,
    ) -> SmallGcn:
        """Random weights; the first layer takes ``in_channels``."""
        random = np.random.default_rng(seed)
        weights: dict[str, npt.NDArray[np.float32]] = {}
        for i, layer in enumerate(layers):
            c_in, c_out = layer.in_channels, layer.out_channels
            shapes = {
                "adjacency": (nodes * partitions, nodes),
                "weight": (partitions * c_in, c_out),
                "bias": (nodes, c_out),
                "scale": (c_out,),
                "shift": (c_out,),
                "project": (c_in, c_out),
            }
            if layer.memory == "window":
                shapes["kernel"] = (layer.taps, c_out, c_out)
            for name, shape in shapes.items():
                weights[f"{name}.{i}"] = (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
            weights[f"scale.{i}"] /= np.float32(layer.taps)
        weights["classify"] = random.standard_normal((layers[-1].out_channels, classes)).astype(np.float32)
        edges = tuple((node, node + 1) for node in range(nodes - 1))
        metadata = RtStgcnMetadata(
            kind="rtstgcn",
            in_channels=in_channels,
            graph=Graph(nodes, edges, 0),
            labels=tuple(f"class {i}" for i in range(classes)),
            layers=layers,
            fps=30.0,
        )
        return cls(metadata, weights)

    def save(self, path: Path, *, careless: bool = False) -> Path:
        """The step graph of ``docs/architecture.md``; a ``careless`` one reads the leaving frame too late."""
        meta = self.metadata
        nodes, partitions = meta.graph.num_node, self.weights["adjacency.0"].shape[0] // meta.graph.num_node
        inputs, outputs = [_float("x", ("N", meta.in_channels, nodes))], [_float("logits", ("N", len(meta.labels)))]
        ops = [helper.make_node("Transpose", ["x"], ["input.0"], perm=[0, 2, 1])]
        constants = [("first_axis", np.array([0])), *self.weights.items()]
        for i, layer in enumerate(meta.layers):
            state = ("N", nodes, layer.out_channels)
            outputs.append(_float(f"entering.{i}", state))
            if layer.memory == "sum":
                inputs += [_float(f"{name}.{i}", state) for name in ("sum", "fresh", "leaving")]
                outputs += [_float(name, state) for name in (f"sum.{i}.out", f"fresh.{i}.out")]
            elif layer.taps > 1:
                inputs.append(_float(f"window.{i}", (layer.taps - 1, *state)))
            if layer.memory == "window":
                kernel = self.weights[f"kernel.{i}"]
                constants += [(f"kernel.{i}.now", kernel[0]), (f"kernel.{i}.past", kernel[:0:-1, np.newaxis])]
            constants.append((f"flat.{i}", np.array([0, nodes, partitions * layer.in_channels])))
            residual = f"input.{i}"
            if layer.residual_delay:
                delayed = ("N", nodes, layer.in_channels)
                inputs.append(_float(f"residual_leaving.{i}", delayed))
                outputs.append(_float(f"residual_entering.{i}", delayed))
                ops.append(helper.make_node("Identity", [f"input.{i}"], [f"residual_entering.{i}"]))
                residual = f"residual_leaving.{i}"
            chain = [
                ("MatMul", [f"adjacency.{i}", f"input.{i}"], f"spread.{i}"),  # (N, V*P, C)
                ("Reshape", [f"spread.{i}", f"flat.{i}"], f"stacked.{i}"),  # (N, V, P*C)
                ("MatMul", [f"stacked.{i}", f"weight.{i}"], f"mixed.{i}"),
                ("Add", [f"mixed.{i}", f"bias.{i}"], f"entering.{i}"),
                *self._memory(i, careless),
                ("Mul", [f"total.{i}", f"scale.{i}"], f"scaled.{i}"),
                ("Add", [f"scaled.{i}", f"shift.{i}"], f"normed.{i}"),
                ("Relu", [f"normed.{i}"], f"active.{i}"),
                ("MatMul", [residual, f"project.{i}"], f"short.{i}"),
                ("Add", [f"active.{i}", f"short.{i}"], f"joined.{i}"),
                ("Relu", [f"joined.{i}"], f"input.{i + 1}"),
            ]
            ops += [helper.make_node(op, names, [out]) for op, names, out in chain]
        ops.append(helper.make_node("ReduceMean", [f"input.{len(meta.layers)}"], ["pooled"], axes=[1], keepdims=0))
        ops.append(helper.make_node("MatMul", ["pooled", "classify"], ["logits"]))
        tensors = [numpy_helper.from_array(value, name) for name, value in constants]
        return save(helper.make_graph(ops, "rtstgcn", inputs, outputs, tensors), meta, path)

    def _memory(self, i: int, careless: bool) -> list[tuple[str, list[str], str]]:
        """entering -> total: the sliding sum, or the learnt kernel over the window."""
        layer = self.metadata.layers[i]
        if layer.memory == "window":
            now = ("MatMul", [f"entering.{i}", f"kernel.{i}.now"], f"now.{i}" if layer.taps > 1 else f"total.{i}")
            if layer.taps == 1:
                return [now]
            return [
                now,
                ("MatMul", [f"window.{i}", f"kernel.{i}.past"], f"products.{i}"),  # (taps - 1, N, V, C)
                ("ReduceSum", [f"products.{i}", "first_axis"], f"past.{i}"),  # (1, N, V, C)
                ("Squeeze", [f"past.{i}", "first_axis"], f"before.{i}"),
                ("Add", [f"now.{i}", f"before.{i}"], f"total.{i}"),
            ]
        if careless:
            order = [
                ("Add", [f"sum.{i}", f"entering.{i}"], f"kept.{i}"),
                ("Sub", [f"kept.{i}", f"leaving.{i}"], f"sum.{i}.out"),
            ]
        else:
            order = [
                ("Sub", [f"sum.{i}", f"leaving.{i}"], f"kept.{i}"),
                ("Add", [f"kept.{i}", f"entering.{i}"], f"sum.{i}.out"),
            ]
        return [
            *order,
            ("Add", [f"fresh.{i}", f"entering.{i}"], f"fresh.{i}.out"),
            ("Identity", [f"sum.{i}.out"], f"total.{i}"),
        ]

    def offline(self, x: npt.NDArray[np.floating]) -> Array:
        """The network on a whole trial ``(L, C, V)`` in float64 -> ``(L, classes)``; nothing precedes the trial."""
        nodes = self.metadata.graph.num_node
        weights = {name: value.astype(np.float64) for name, value in self.weights.items()}
        value = x.transpose(0, 2, 1).astype(np.float64)  # (L, V, C)
        for i, layer in enumerate(self.metadata.layers):
            stacked = (weights[f"adjacency.{i}"] @ value).reshape(len(x), nodes, -1)
            h = stacked @ weights[f"weight.{i}"] + weights[f"bias.{i}"]
            kernel = weights.get(f"kernel.{i}", [np.eye(layer.out_channels)] * layer.taps)
            total = sum(shift(h, tap * layer.dilation) @ kernel[tap] for tap in range(layer.taps))
            active = np.maximum(total * weights[f"scale.{i}"] + weights[f"shift.{i}"], 0)
            value = np.maximum(active + shift(value, layer.residual_delay) @ weights[f"project.{i}"], 0)
        result: Array = value.mean(axis=1) @ weights["classify"]
        return result


def shift(frames: Array, steps: int) -> Array:
    """``frames[t - steps]`` at ``t``, zero before the first."""
    return np.concatenate([np.zeros_like(frames[:steps]), frames[: len(frames) - steps]]) if steps else frames


@dataclass(frozen=True)
class SmallImfe:
    """An IMFE whose stages are small but take part: pixels -> fmap, two fmaps -> pair, clip of pairs -> features.

    With ``appearance`` the central frame gives two features more.
    """

    metadata: ImfeMetadata
    weights: dict[str, npt.NDArray[np.float32]]

    @classmethod
    def make(
        cls, *, clip_length: int = 6, hops: tuple[int, ...] = (6, 3, 2, 1), seed: int = 0, appearance: bool = False
    ) -> SmallImfe:
        random = np.random.default_rng(seed)
        shapes = {"encode": (4, 3, 8, 8), "compare": (3, 8, 3, 3), "describe": (7, (clip_length - 1) * 3, 1, 1)}
        if appearance:
            shapes["look"] = (2, 3, 8, 8)
        looks = {"appearance": Stage(("central_frame",), ("appearance",))} if appearance else {}
        weights = {
            name: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
            for name, shape in shapes.items()
        }
        metadata = ImfeMetadata(
            kind="imfe",
            height=32,
            width=48,
            fps=30.0,
            clip_length=clip_length,
            hops=hops,
            feature_dim=9 if appearance else 7,
            region_grid=(2, 3),
            stages={
                "encoder": Stage(("frame",), ("fmap",)),
                "motion": Stage(("previous_fmap", "fmap"), ("pair",)),
                "head": Stage(("pairs", *looks), ("features", "regions")),
                **looks,
            },
            mean=(120.0, 110.0, 100.0),
            std=(60.0, 50.0, 40.0),
        )
        return cls(metadata, weights)

    def save(self, path: Path) -> Path:
        """The step graph of ``docs/architecture.md``."""
        meta = self.metadata
        pairs = meta.clip_length - 1
        constants = {
            **self.weights,
            "mean": np.array(meta.mean, np.float32),
            "std": np.array(meta.std, np.float32),
            "region_shape": np.array([1, meta.feature_dim, 6]),
        }
        looks = meta.has_appearance
        ops = [
            *self._seen("frame", "encode", "fmap"),
            helper.make_node("Concat", ["previous_fmap", "fmap"], ["both"], axis=1),
            helper.make_node("Conv", ["both", "compare"], ["pair"], pads=[1, 1, 1, 1]),
            helper.make_node("Concat", ["previous_pairs", "pair"], ["pairs"], axis=1),
            helper.make_node("Conv", ["pairs", "describe"], ["described"]),
            helper.make_node("Tanh", ["described"], ["moves" if looks else "last"]),  # (1, 7, 4, 6)
            *(self._seen("central_frame", "look", "appearance") if looks else ()),
            *([helper.make_node("Concat", ["moves", "appearance"], ["last"], axis=1)] if looks else ()),
            helper.make_node("ReduceMean", ["last"], ["features"], axes=[2, 3], keepdims=0),
            helper.make_node("AveragePool", ["last"], ["grid"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Reshape", ["grid", "region_shape"], ["regions"]),
        ]
        inputs = [
            *(
                helper.make_tensor_value_info(name, TensorProto.UINT8, (1, meta.height, meta.width, 3))
                for name in ("frame", "central_frame")[: 2 if looks else 1]
            ),
            _float("previous_fmap", (1, 4, 4, 6)),
            _float("previous_pairs", (1, (pairs - 1) * 3, 4, 6)),
        ]
        outputs = [
            _float("fmap", (1, 4, 4, 6)),
            _float("pair", (1, 3, 4, 6)),
            _float("features", (1, meta.feature_dim)),
            _float("regions", (1, meta.feature_dim, 6)),
        ]
        tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        return save(helper.make_graph(ops, "imfe", inputs, outputs, tensors), meta, path)

    def _seen(self, frame: str, weight: str, result: str) -> list[onnx.NodeProto]:
        """Normalised pixels, eight by eight, through a weight."""
        return [
            helper.make_node("Cast", [frame], [f"{result}.pixels"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"{result}.pixels", "mean"], [f"{result}.centred"]),
            helper.make_node("Div", [f"{result}.centred", "std"], [f"{result}.normal"]),
            helper.make_node("Transpose", [f"{result}.normal"], [f"{result}.planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", [f"{result}.planes", weight], [f"{result}.coded"], strides=[8, 8]),
            helper.make_node("Tanh", [f"{result}.coded"], [result]),
        ]

    def save_clip_model(self, path: Path) -> Path:
        """The same network as the published exporter writes one: normalised clip in, feature out, no metadata."""
        meta = self.metadata
        constants = dict(self.weights)
        ops = []
        for i in range(meta.clip_length):
            constants[f"index.{i}"] = np.array(i)
            ops += [
                helper.make_node("Gather", ["clip", f"index.{i}"], [f"planes.{i}"], axis=1),
                helper.make_node("Conv", [f"planes.{i}", "encode"], [f"coded.{i}"], strides=[8, 8]),
                helper.make_node("Tanh", [f"coded.{i}"], [f"fmap.{i}"]),
            ]
        for i in range(1, meta.clip_length):
            ops += [
                helper.make_node("Concat", [f"fmap.{i - 1}", f"fmap.{i}"], [f"both.{i}"], axis=1),
                helper.make_node("Conv", [f"both.{i}", "compare"], [f"pair.{i}"], pads=[1, 1, 1, 1]),
            ]
        ops += [
            helper.make_node("Concat", [f"pair.{i}" for i in range(1, meta.clip_length)], ["pairs"], axis=1),
            helper.make_node("Conv", ["pairs", "describe"], ["described"]),
            helper.make_node("Tanh", ["described"], ["last"]),
            helper.make_node("ReduceMean", ["last"], ["feature"], axes=[2, 3], keepdims=0),
        ]
        inputs = [_float("clip", (1, meta.clip_length, 3, meta.height, meta.width))]
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        graph = helper.make_graph(ops, "clip", inputs, [_float("feature", (1, meta.feature_dim))], tensors)
        return save(graph, None, path)

    def clip(
        self,
        frames: npt.NDArray[np.uint8],
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> tuple[Array, Array]:
        """One clip ``(clip_length, H, W, 3)`` in float64 -> features ``(D,)``, regions ``(D, V)``."""
        mean, std = mean or self.metadata.mean, std or self.metadata.std
        weights = {name: value.astype(np.float64) for name, value in self.weights.items()}
        patches = ((frames.astype(np.float64) - mean) / std).reshape(-1, 4, 8, 6, 8, 3)
        fmaps = np.tanh(np.einsum("tyixjc,ocij->toyx", patches, weights["encode"]))
        pairs = []
        for before, after in itertools.pairwise(fmaps):
            both = np.pad(np.concatenate([before, after]), ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(both, (3, 3), axis=(1, 2))
            pairs.append(np.einsum("cyxij,ocij->oyx", windows, weights["compare"]))
        last = np.tanh(np.einsum("cyx,oc->oyx", np.concatenate(pairs), weights["describe"][:, :, 0, 0]))
        if self.metadata.has_appearance:
            looks = np.einsum("yixjc,ocij->oyx", patches[(len(frames) - 1) // 2], weights["look"])
            last = np.concatenate([last, np.tanh(looks)])
        return last.mean(axis=(1, 2)), last.reshape(-1, 2, 2, 3, 2).mean(axis=(2, 4)).reshape(-1, 6)


@dataclass(frozen=True)
class SmallLstr:
    """A head with an LSTR's memories: what it says of a step is a sum over an old window, a young one, and the step."""

    metadata: LstrMetadata
    weights: npt.NDArray[np.float32]  # (C * V, 4)

    @classmethod
    def make(cls, *, in_channels: int = 7, nodes: int = 6, fps: float = 5.0) -> SmallLstr:
        metadata = LstrMetadata(
            kind="lstr",
            in_channels=in_channels,
            num_node=nodes,
            labels=tuple(f"class {i}" for i in range(4)),
            short=3,
            long=5,
            memories=(LstrMemory("old", 4, length=5, age=3, empty=-2.0), LstrMemory("young", 4, length=2)),
            receptive_field=8,
            fps=fps,
        )
        random = np.random.default_rng(0)
        return cls(metadata, random.standard_normal((in_channels * nodes, 4), np.float32))

    def save(self, path: Path) -> Path:
        """The step graph of ``docs/architecture.md``."""
        meta = self.metadata
        constants = {"flat": np.array([1, -1]), "vector": np.array([4]), "axis": np.array([0])}
        constants |= {"weights": self.weights, "scale": np.array(0.02, np.float32)}
        ops = [
            helper.make_node("Reshape", ["x", "flat"], ["row"]),
            helper.make_node("MatMul", ["row", "weights"], ["now"]),
            helper.make_node("ReduceSum", ["old", "axis"], ["of.old"]),
            helper.make_node("ReduceSum", ["young", "axis"], ["of.young"]),
            helper.make_node("Sum", ["now", "of.old", "of.young"], ["sum"]),
            helper.make_node("Mul", ["sum", "scale"], ["scaled"]),
            helper.make_node("Tanh", ["scaled"], ["logits"]),
            *(helper.make_node("Reshape", ["now", "vector"], [f"{m.name}.entering"]) for m in meta.memories),
        ]
        inputs = [_float("x", (1, *meta.input_shape)), *(_float(m.name, (m.length, m.width)) for m in meta.memories)]
        outputs = [_float("logits", (1, 4)), *(_float(f"{m.name}.entering", (m.width,)) for m in meta.memories)]
        tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        return save(helper.make_graph(ops, "lstr", inputs, outputs, tensors), meta, path)

    def offline(self, x: npt.NDArray[np.floating]) -> Array:
        """A whole trial ``(L, C, V)`` in float64 -> ``(L, 4)``."""
        now = x.reshape(len(x), -1).astype(np.float64) @ self.weights
        total = now.copy()
        for memory in self.metadata.memories:
            before = np.concatenate([np.full((memory.age - 1 + memory.length, 4), memory.empty), now])
            total += np.stack([before[t : t + memory.length].sum(0) for t in range(len(x))])
        result: Array = np.tanh(0.02 * total)
        return result


LAYERS = (
    RtStgcnLayer(3, 6, taps=4, dilation=1),
    RtStgcnLayer(6, 6, taps=3, dilation=2),
    RtStgcnLayer(6, 8, taps=2, dilation=3),
)
