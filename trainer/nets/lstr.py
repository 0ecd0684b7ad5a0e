"""LSTR (Xu et al., NeurIPS 2021): a head that remembers long and attends to what it remembers.

::

    x_t ──► embed ──► z_t ──┬─────────────────────────► short memory: attends to the last `short` steps ──(+)──► logits
                            │                                                                             ▲
                            └─► [short steps later] ──► long memory (`long` steps)                        │
                                                          │ stage 1: queries attend to it                 │
                                                          │ stage 2: queries attend to those ─────────────┘

One set of parameters, two forms: ``forward`` over whole trials, to train, and the pure ``step``. They are the same
function (`_see`), which asks for what it remembers; the two forms only differ in where that comes from.

What makes a step cheap, and its result the same in both forms:

- The queries of stage 1 are learnt and do not depend on the stream. So the scores that a step will get from them, and
  the value that it will contribute, are known when it arrives: they are computed once and kept, as in the paper.
  What a step's age adds to its scores is learnt apart, and depends on its place in the memory only.
- A step of the short memory keeps the keys and values that it had when it was the present one. The paper computes the
  whole short memory again at every step; with one layer, the default, that is the same result.

A memory that nothing has entered yet is masked, so a stream may begin with no past.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import LstrMemory

ABSENT = -1e4  # score of a step that has not been: its weight is exactly zero in float32

State = tuple[Tensor, ...]
"""For each of ``config.memories`` (N, age - 1 + length, width), oldest first."""

Recall = Callable[[LstrMemory, Tensor], Tensor]
"""Lets (B, width) enter a memory and gives what the step sees of it, (B, length, width)."""


@dataclass(frozen=True, slots=True)
class LstrConfig:
    """Sizes. The defaults suit the features of a ``tiny`` IMFE; the paper's are 1024 channels, 16 heads, queries 16
    and 32, 8 s of short and 512 s of long memory."""

    in_channels: int  # C
    num_node: int  # V, regions
    labels: tuple[str, ...]
    fps: float  # steps a second
    background: str | None = None
    short: int = 4  # steps, the present one included
    long: int = 16  # steps before those
    channels: int = 64  # d
    heads: int = 4
    queries: tuple[int, int] = (8, 4)  # of the two stages of compression
    layers: int = 1  # of the short memory
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.channels % self.heads:
            raise InputError(f"LSTR: {self.channels} channels do not divide among {self.heads} heads")
        if self.short < 2 or self.long < 1 or self.layers < 1 or min(self.queries) < 1:
            raise InputError(
                "LSTR: expected a short memory of 2 steps or more, a long one, queries and layers of 1 or more; found "
                f"{self.short}, {self.long}, {self.queries}, {self.layers}"
            )

    @property
    def receptive_field(self) -> int:
        """Steps that one output depends on; a layer sees ``short - 1`` steps back into the one below."""
        return self.short + self.long + (self.layers - 1) * (self.short - 1)

    @property
    def memories(self) -> tuple[LstrMemory, ...]:
        """In the order in which a step uses them. Keys of the short memory have a 1 after them, empty places do not."""
        past = self.short - 1
        scores = LstrMemory("scores", self.heads * self.queries[0], self.long, age=self.short, empty=ABSENT)
        values = LstrMemory("values", self.channels, self.long, age=self.short)
        d = self.channels
        short = ((LstrMemory(f"keys.{i}", d + 1, past), LstrMemory(f"values.{i}", d, past)) for i in range(self.layers))
        return (scores, values, *(memory for pair in short for memory in pair))


def split(x: Tensor, heads: int) -> Tensor:
    """(B, n, d) -> (B, heads, n, d / heads)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """(B, heads, n, d / heads) -> (B, n, d)."""
    return x.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """``norm(x + W2 relu(W1 x))``."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.norm, self.dropout = nn.LayerNorm(d), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x + self.dropout(self.down(F.relu(self.up(x)))))
        return out


class Attention(nn.Module):
    """``norm(x + attention of x to a memory)``: x (B, n, d), memory (B, m, d)."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.norm, self.dropout = nn.LayerNorm(d), nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.attend(x, self.query(x), self.key(memory), self.value(memory))

    def attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """With queries (B, n, d), keys and values (B, m, d) computed before; ``bias`` (B, heads, n, m) of scores."""
        q, k, v = (split(part, self.heads) for part in (q, k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])  # (B, heads, n, m)
        if bias is not None:
            scores = scores + bias
        return self.add(x, scores.softmax(-1) @ v)

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Join what was read (B, heads, n, d / heads) to ``x``."""
        out: Tensor = self.norm(x + self.dropout(self.out(merge(read))))
        return out


class Compression(nn.Module):
    """The long memory -> (B, queries[1], d), in two stages."""

    def __init__(self, config: LstrConfig) -> None:
        super().__init__()
        d, (first, second) = config.channels, config.queries
        self.first_tokens, self.second_tokens = (nn.Parameter(torch.randn(n, d) * 0.5) for n in (first, second))
        self.age = nn.Parameter(torch.zeros(config.heads, first, config.long))  # oldest first
        self.first = Attention(d, config.heads, config.dropout)
        self.second = Attention(d, config.heads, config.dropout)
        self.first_forward, self.second_forward = (FeedForward(d, config.dropout) for _ in range(2))

    def remember(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Steps (B, d) -> the scores that the queries give them (B, heads * queries), and their values (B, d)."""
        q = split(self.first.query(self.first_tokens)[None], self.first.heads)  # (1, heads, queries, dh)
        k = split(self.first.key(z)[:, None], self.first.heads)  # (B, heads, 1, dh)
        return ((q * k).sum(-1) / math.sqrt(q.shape[-1])).flatten(1), self.first.value(z)

    def forward(self, scores: Tensor, values: Tensor) -> Tensor:
        """What `remember` gave for the steps of the memory, (B, long, ...)."""
        B, heads = len(scores), self.first.heads
        scores = scores.view(B, -1, heads, len(self.first_tokens)).permute(0, 2, 3, 1)  # (B, heads, queries, long)
        weights = (scores + self.age).softmax(-1)
        tokens = self.first.add(self.first_tokens.expand(B, -1, -1), weights @ split(values, heads))
        tokens = self.first_forward(tokens)
        out: Tensor = self.second_forward(self.second(self.second_tokens.expand(B, -1, -1), tokens))
        return out


class Layer(nn.Module):
    """One layer of the short memory: the present step attends to itself and the steps before, then to the long one."""

    def __init__(self, index: int, config: LstrConfig) -> None:
        super().__init__()
        memories = {memory.name: memory for memory in config.memories}
        self.keys, self.values = memories[f"keys.{index}"], memories[f"values.{index}"]
        self.age = nn.Parameter(torch.zeros(config.heads, config.short))  # oldest first
        self.short = Attention(config.channels, config.heads, config.dropout)
        self.long = Attention(config.channels, config.heads, config.dropout)
        self.forward_ = FeedForward(config.channels, config.dropout)

    def forward(self, h: Tensor, compressed: Tensor, recall: Recall) -> Tensor:
        """``h`` (B, 1, d), ``compressed`` (B, queries, d) -> (B, 1, d)."""
        k, v = F.pad(self.short.key(h), (0, 1), value=1.0), self.short.value(h)
        keys = torch.cat((recall(self.keys, k[:, 0]), k), 1)  # (B, short, d + 1)
        values = torch.cat((recall(self.values, v[:, 0]), v), 1)
        absent = ABSENT * (1 - keys[:, None, None, :, -1])  # (B, 1, 1, short)
        bias = self.age[:, None] + absent
        h = self.short.attend(h, self.short.query(h), keys[..., :-1], values, bias)
        out: Tensor = self.forward_(self.long(h, compressed))
        return out


class Lstr(nn.Module):
    """The network; N streams at once."""

    def __init__(self, config: LstrConfig) -> None:
        super().__init__()
        self.config = config
        d = config.channels
        self.norm_in = nn.LayerNorm(config.in_channels)  # of each region
        self.embed = nn.Linear(config.num_node * config.in_channels, d)
        self.dropout = nn.Dropout(config.dropout)
        self.compression = Compression(config)
        self.layers = nn.ModuleList(Layer(i, config) for i in range(config.layers))
        self.classify = nn.Linear(d, len(config.labels))

    def forward(self, x: Tensor) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L)."""
        N, _, L, _ = x.shape

        def recall(memory: LstrMemory, entering: Tensor) -> Tensor:
            return windows(entering.view(N, L, -1), memory).flatten(0, 1)

        logits = self._see(x.transpose(1, 2).flatten(0, 1), recall)
        return logits.view(N, L, -1).transpose(1, 2)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step (N, C, V) -> logits (N, classes), and the state after it."""
        after: list[Tensor] = []

        def recall(memory: LstrMemory, entering: Tensor) -> Tensor:
            past = state[len(after)]
            after.append(torch.cat((past[:, 1:], entering[:, None]), 1))
            return past[:, : memory.length]

        return self._see(x, recall), tuple(after)

    def initial_state(self, N: int) -> State:
        """Of N streams that have seen nothing."""
        like = self.classify.weight
        return tuple(like.new_full((N, m.age - 1 + m.length, m.width), m.empty) for m in self.config.memories)

    def _see(self, x: Tensor, recall: Recall) -> Tensor:
        """Steps (B, C, V) -> logits (B, classes); memories are asked for in the order of ``config.memories``."""
        scores, values, *_ = self.config.memories
        z = self.norm_in(x.transpose(1, 2)).flatten(1)  # (B, V*C)
        z = self.dropout(F.relu(self.embed(z)))
        its_scores, its_value = self.compression.remember(z)
        compressed = self.compression(recall(scores, its_scores), recall(values, its_value))
        h = z[:, None]
        for layer in self.layers:
            h = layer(h, compressed, recall)
        out: Tensor = self.classify(h[:, 0])
        return out


def windows(x: Tensor, memory: LstrMemory) -> Tensor:
    """What each step of (N, L, width) sees of a memory that they entered one by one: (N, L, length, width)."""
    past = F.pad(x, (0, 0, memory.age - 1 + memory.length, 0), value=memory.empty)
    return past[:, : x.shape[1] + memory.length - 1].unfold(1, memory.length, 1).transpose(2, 3)
