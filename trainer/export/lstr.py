"""Lstr -> ``lstr.onnx``: the step graph of docs/architecture.md.

What does not depend on the stream is computed here once: the queries of both stages of compression, and with those of
the first its keys, so that the scores that a step will get are one product of its embedding.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import LstrMemory, LstrMetadata, Provenance
from edge_runtime.streams import LstrStream
from trainer.export.builder import GraphBuilder
from trainer.export.frames import array
from trainer.export.write import relative_error, write_model
from trainer.nets.lstr import ABSENT, Attention, Compression, FeedForward, Layer, Lstr, LstrConfig, split

PARITY_FIELDS = 3  # receptive fields compared with torch before a file is written


def export_lstr(model: Lstr, out: str | Path, name: str = "lstr", provenance: Provenance | None = None) -> float:
    """Write the step graph of ``model`` (its eval form) after comparing it with torch.

    Args:
        out: file to write.
        name: what the model calls itself.

    Returns:
        The relative error against torch.

    Raises:
        ParityError: graph and network disagree; no file is left.
        InputError: ``out`` cannot be written.
    """
    model.eval()
    metadata = build_metadata(model.config, name, provenance)
    return write_model(build_graph(model), metadata, out, lambda file: _parity(model, file))


def build_metadata(config: LstrConfig, name: str = "lstr", provenance: Provenance | None = None) -> LstrMetadata:
    """What the file says about itself."""
    return LstrMetadata(
        kind="lstr",
        in_channels=config.in_channels,
        num_node=config.num_node,
        labels=config.labels,
        short=config.short,
        long=config.long,
        memories=config.memories,
        receptive_field=config.receptive_field,
        fps=config.fps,
        background=config.background,
        name=name,
        provenance=provenance or Provenance(),
    )


def build_graph(model: Lstr) -> onnx.ModelProto:
    """One step of the network."""
    config = model.config
    g = _LstrGraph(config)
    scores, values, *_ = config.memories
    x = g.op("Transpose", (g.input("x", (1, config.in_channels, config.num_node)),), "regions", perm=(0, 2, 1))
    x = g.reshape(g.norm(x, model.norm_in, "input"), (1, -1), "flat")  # (1, V*C)
    z = g.op("Relu", (g.linear(x, model.embed, "embedded"),), "z")  # (1, d)

    compressed = g.compress(model.compression, z, scores, values)
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        z = g.layer(layer, z, compressed, f"layer{index}")
    g.output(g.linear(z, model.classify, "output", result="logits"), (1, len(config.labels)))
    return g.model("lstr")


class _LstrGraph(GraphBuilder):
    """The parts, in the order and with the names of ``trainer.nets.lstr``.

    Tokens are (n, d), split among the heads (heads, n, d / heads).
    """

    def __init__(self, config: LstrConfig) -> None:
        super().__init__()
        self._heads, self._width = config.heads, config.channels

    def recall(self, memory: LstrMemory) -> str:
        """What the step sees of a memory (length, width)."""
        return self.input(memory.name, (memory.length, memory.width))

    def enter(self, memory: LstrMemory, value: str) -> None:
        """Let (1, width) enter it."""
        name = f"{memory.name}.entering"
        self.output(self.reshape(value, (memory.width,), name), (memory.width,))

    def seen(self, memory: LstrMemory, now: str) -> str:
        """What a memory holds and, after it, what enters it now (1, width)."""
        self.enter(memory, now)
        return self.op("Concat", (self.recall(memory), now), f"{memory.name}.seen", axis=0)

    def unmark(self, keys: str, name: str) -> tuple[str, str]:
        """Keys (m, d + 1) -> keys (m, d), and what their marks add to the scores (1, m)."""
        columns = self.weight("columns", np.array([self._width, 1], np.int64))
        k, mark = f"{name}.keys", f"{name}.marks"
        self._nodes.append(helper.make_node("Split", [keys, columns], [k, mark], name=k, axis=1))
        mask = self.op("Sub", (self.weight("present", np.ones((1, 1))), mark), f"{name}.absent")
        mask = self.op("Mul", (mask, self.weight("never", np.array(ABSENT))), f"{name}.never")
        return k, self.reshape(mask, (1, -1), f"{name}.mask")

    def compress(self, part: Compression, z: str, scores: LstrMemory, values: LstrMemory) -> str:
        """Both stages: (1, d) -> (queries, d)."""
        heads, first, long = part.age.shape
        weight, bias = _score_map(part)
        its_scores = self.op("MatMul", (z, self.weight("scores.weight", array(weight))), "scores.product")
        its_scores = self.op("Add", (its_scores, self.weight("scores.bias", array(bias))), "scores.now")
        self.enter(scores, its_scores)
        self.enter(values, self.linear(z, part.first.value, "values.now"))

        s = self.op("Transpose", (self.recall(scores),), "stage1.scores", perm=(1, 0))
        s = self.reshape(s, (heads, first, long), "stage1.split")
        s = self.op("Add", (s, self.weight("stage1.age", array(part.age))), "stage1.aged")
        v = self.split(self.recall(values), "stage1.values")
        tokens = self.weight("stage1.tokens", array(part.first_tokens))
        tokens = self.read(part.first, tokens, s, v, "stage1")
        tokens = self.feed_forward(part.first_forward, tokens, "stage1.forward")

        q = self.weight("stage2.query", array(split(part.second.query(part.second_tokens)[None], heads)[0]))
        tokens = self.attend(
            part.second, self.weight("stage2.tokens", array(part.second_tokens)), q, tokens, tokens, "stage2"
        )
        return self.feed_forward(part.second_forward, tokens, "stage2.forward")

    def layer(self, layer: Layer, h: str, compressed: str, name: str) -> str:
        """One layer of the short memory: (1, d) -> (1, d)."""
        k = self.linear(h, layer.short.key, f"{name}.key")
        k = self.op("Concat", (k, self.weight("present", np.ones((1, 1)))), f"{name}.key.marked", axis=1)
        keys, mask = self.unmark(self.seen(layer.keys, k), name)
        values = self.seen(layer.values, self.linear(h, layer.short.value, f"{name}.value"))
        q = self.split(self.linear(h, layer.short.query, f"{name}.short.query"), f"{name}.short.q")
        scores = self.scores(q, self.split(keys, f"{name}.short.k"), f"{name}.short")
        scores = self.op("Add", (scores, self.weight(f"{name}.age", array(layer.age[:, None]))), f"{name}.aged")
        scores = self.op("Add", (scores, mask), f"{name}.masked")
        h = self.read(layer.short, h, scores, self.split(values, f"{name}.short.v"), f"{name}.short")
        q = self.split(self.linear(h, layer.long.query, f"{name}.long.query"), f"{name}.long.q")
        h = self.attend(layer.long, h, q, compressed, compressed, f"{name}.long")
        return self.feed_forward(layer.forward_, h, f"{name}.forward")

    def attend(self, part: Attention, x: str, q: str, k: str, v: str, name: str) -> str:
        """``x`` (n, d) with its queries (heads, n, dh) made before; tokens ``k`` and ``v`` (m, d) of the memory."""
        keys = self.split(self.linear(k, part.key, f"{name}.key"), f"{name}.k")
        values = self.split(self.linear(v, part.value, f"{name}.value"), f"{name}.v")
        return self.read(part, x, self.scores(q, keys, name), values, name)

    def scores(self, q: str, k: str, name: str) -> str:
        """Split queries and keys -> (heads, n, m)."""
        k = self.op("Transpose", (k,), f"{name}.turned", perm=(0, 2, 1))
        product = self.op("MatMul", (q, k), f"{name}.product")
        scale = self.weight(f"{name}.scale", np.array(math.sqrt(self._heads / self._width)))
        return self.op("Mul", (product, scale), f"{name}.scores")

    def read(self, part: Attention, x: str, scores: str, values: str, name: str) -> str:
        """Scores (heads, n, m) and split values -> ``norm(x + what they read)``, (n, d)."""
        weights = self.op("Softmax", (scores,), f"{name}.weights", axis=-1)
        y = self.op("MatMul", (weights, values), f"{name}.read")
        y = self.op("Transpose", (y,), f"{name}.heads_last", perm=(1, 0, 2))
        y = self.linear(self.reshape(y, (-1, self._width), f"{name}.merged"), part.out, f"{name}.out")
        return self.norm(self.op("Add", (x, y), f"{name}.sum"), part.norm, name)

    def feed_forward(self, part: FeedForward, x: str, name: str) -> str:
        y = self.op("Relu", (self.linear(x, part.up, f"{name}.up"),), f"{name}.relu")
        return self.norm(self.op("Add", (x, self.linear(y, part.down, f"{name}.down")), f"{name}.sum"), part.norm, name)

    def split(self, x: str, name: str) -> str:
        """(n, d) -> (heads, n, dh)."""
        x = self.reshape(x, (-1, self._heads, self._width // self._heads), f"{name}.parts")
        return self.op("Transpose", (x,), name, perm=(1, 0, 2))

    def linear(self, x: str, part: nn.Linear, name: str, result: str = "") -> str:
        y = self.op("MatMul", (x, self.weight(f"{name}.weight", array(part.weight).T)), f"{name}.raw")
        return self.op("Add", (y, self.weight(f"{name}.bias", array(part.bias))), result or name)

    def norm(self, x: str, part: nn.LayerNorm, name: str) -> str:
        parameters = (
            self.weight(f"{name}.norm.{key}", array(value)) for key, value in (("w", part.weight), ("b", part.bias))
        )
        return self.op("LayerNormalization", (x, *parameters), f"{name}.norm", axis=-1, epsilon=part.eps)

    def reshape(self, x: str, shape: tuple[int, ...], name: str) -> str:
        return self.op("Reshape", (x, self.weight(f"{name}.shape", np.array(shape, np.int64))), name)


def _score_map(part: Compression) -> tuple[Tensor, Tensor]:
    """The scores that stage 1 gives an embedding, as one linear map: (d, heads * queries) and (heads * queries,)."""
    with torch.no_grad():
        d = part.first.key.in_features
        zero, unit = torch.zeros(1, d), torch.eye(d)
        bias = part.remember(zero)[0]
        return part.remember(unit)[0] - bias, bias[0]


def _parity(model: Lstr, file: ModelFile) -> float:
    """Stream noise step by step; relative error against ``forward`` on the whole."""
    config = model.config
    length = PARITY_FIELDS * config.receptive_field
    x = torch.randn(1, config.in_channels, length, config.num_node, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(x)[0].T.numpy()  # (L, classes)
    found = LstrStream(file).steps(x[0].transpose(0, 1).numpy())
    return relative_error(found, expected)
