"""RT-ST-GCN (Yudayev, Filtjens, Balasch, MLSP 2024): an ST-GCN whose temporal convolution is an unweighted sum.

::

    layer:   x_t ──► graph convolution ──► h_t ──► s_t = Σ_{i<taps} h_{t - i·dilation} ──► norm, ReLU ──(+)──► ReLU ──►
               └──────────── held back by residual_delay ──► identity | 1x1 conv, norm ─────────────────┘

    lifts:   sums over the sensors' lift windows ──► perceptron ──► added to the logits, where that is asked for
    result:  logits_t ──► (Σ_{i<average} logits_{t-i} + logits_{t - average/2}) / (average + 1), where that is asked for

One set of parameters, two forms: ``forward`` over whole trials, to train, and the pure ``step`` of one frame, whose
cost does not depend on the window because ``s_t = s_{t-d} + h_t - h_{t-taps·d}``. docs/networks.md says why they agree.
Parameter names are the published ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nets.layers import GraphConv, Normalization, PointwiseNorm, delayed, frame_norm, relu_join, sliding_sum
from trainer.nets.memory import LayerState, initial_memory, slide
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import LayerConfig, NetworkConfig


class State(NamedTuple):
    """The network's memory: frames seen so far, and the layers'."""

    steps: int
    layers: tuple[LayerState, ...]


class Layer(GraphConv):
    """One RT-ST-GCN layer over frames (N, L, V, C), or one frame (N, V, C) in ``step``."""

    def __init__(self, config: LayerConfig, A: Tensor, normalization: Normalization, edge_importance: bool) -> None:
        super().__init__(config.in_channels, config.out_channels, A, edge_importance)
        self.config = config
        self.bn_relu = nn.Sequential(frame_norm(normalization, config.out_channels, self.nodes), nn.ReLU())
        self.residual: PointwiseNorm | None = None
        if config.residual == "conv":
            self.residual = PointwiseNorm(config.in_channels, config.out_channels, self.nodes, normalization)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, A: Tensor, rate: int = 1, thin: int = 1) -> Tensor:  # type: ignore[override]
        """Whole trials.

        Args:
            rate: ``x`` holds every ``rate``-th frame only. Where that leaves frames of the window out (its dilation is
                no multiple), those that are there stand for them.
            thin: give every ``thin``-th output only. The sum commutes with the convolution, which is linear and
                therefore runs on as few frames.
        """
        taps, dilation, delay = self.config.taps, self.config.dilation, self.config.residual_delay // rate
        if dilation % rate:
            taps, dilation, stand_in = -(-taps * dilation // rate), 1, self.config.taps / -(-taps * dilation // rate)
        else:
            dilation, stand_in = dilation // rate, 1.0
        skipped, kept = delayed(x, delay), slice(thin - 1, None, thin)
        if thin == 1 or self.product.int8:  # frames that are rounded one by one do not commute with the sum
            s = sliding_sum(super().forward(x, A), taps, dilation)[:, kept]
            return self._join(s if stand_in == 1.0 else s * stand_in, skipped[:, kept])
        seen = (torch.arange(x.shape[1], device=x.device)[kept] // dilation + 1).clamp(max=taps)
        s = super().forward(sliding_sum(x, taps, dilation)[:, kept], A, seen.to(x.dtype))
        return self._join(s, skipped[:, kept])

    def _join(self, s: Tensor, skipped: Tensor) -> Tensor:
        """Window sum and input, normalised and added."""
        y: Tensor = self.bn_relu[0](s)
        if self.config.residual == "none":
            y = F.relu(y)
        else:
            y = relu_join(y, skipped if self.residual is None else self.residual(skipped))
        out: Tensor = self.dropout(y)
        return out

    def step(self, x: Tensor, A: Tensor, state: LayerState, steps: int) -> tuple[Tensor, LayerState]:
        """One frame (N, V, C_in) -> (N, V, C_out); ``steps`` is how many came before."""
        h = super().forward(x[:, None], A)[:, 0]
        s, state = slide(h, self.config, state, steps)
        held = (*state.residual, x)
        return self._join(s, held[0]), state._replace(residual=held[1:])


class RtStgcn(FrameNetwork):
    """The network. N people at once, V nodes, C channels, L frames."""

    skips = True

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.st_gcn = nn.ModuleList(
            Layer(layer, self.A, config.normalization, config.edge_importance) for layer in config.layers
        )
        self.lift_head = _lift_head(config) if config.lift_head else None

    def forward(self, x: Tensor, every: int = 1) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L); the logits at t speak of frame ``t - delay``.

        With ``every`` = n only the logits of the frames n-1, 2n-1, ... are computed, (N, classes, L // n): from the
        first layer on whose dilation is a multiple of n, all layers see only those frames, so training is nearly n
        times faster. It is exact where all later dilations are multiples too. A later window of neighbouring frames is
        estimated from every n-th of them; it is worth having at the end, where it averages the n interleaved
        networks that dilated layers are, and so steadies the result.
        """
        streams = self._streams(x)
        y, dense = self._embed(streams), self._dense_layers(every)
        for index, layer in enumerate(self.layers):
            y = layer(y, self.A, rate=1 if index <= dense else every, thin=every if index == dense else 1)
        logits = self._with_lifts(self._classify(y), streams[:, every - 1 :: every])
        return self._averaged(logits, every).transpose(1, 2)

    def _with_lifts(self, logits: Tensor, streams: Tensor) -> Tensor:
        """What the lift windows alone say (..., V, streams), added to the logits (..., classes)."""
        if self.lift_head is None:
            return logits
        assert self.config.sensors is not None
        out: Tensor = logits + self.lift_head(streams[..., 0, self.config.sensors.lifts])
        return out

    def _averaged(self, logits: Tensor, rate: int) -> Tensor:
        """Every ``rate``-th frame's logits (N, L, classes), averaged over those in the window."""
        window = self.config.averaging
        if window is None:
            return logits
        x, taps = logits[:, :, None], max(1, window.taps // rate)
        y = sliding_sum(x, taps, 1) + delayed(x, window.residual_delay // rate)
        return y[:, :, 0] / (taps + 1)

    def _dense_layers(self, every: int) -> int:
        """Index of the last layer that sees all frames: the next one's dilation is a multiple of ``every``."""
        sparse = (i for i, c in enumerate(self.config.layers) if c.dilation % every == 0)
        return max(0, next(sparse, len(self.config.layers)) - 1)

    def initial_state(self, N: int = 1) -> State:
        """Memory before the first frame."""
        V = self.config.graph.num_node
        return State(0, tuple(initial_memory(c, self.input_mean, N, V) for c in self.config.memories))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame (N, C, V) -> logits (N, classes) and the new memory; the old one stays as it was."""
        first = len(self.config.sensor_memories)
        streams, sensors = self._streams_step(x, state.layers[:first], state.steps)
        y = self._embed(streams[:, None])[:, 0]
        after = list(sensors)
        for layer, memory in zip(self.layers, state.layers[first : first + len(self.layers)], strict=True):
            y, memory = layer.step(y, self.A, memory, state.steps)
            after.append(memory)
        logits = self._with_lifts(self._classify(y), streams)
        if window := self.config.averaging:
            x = logits[:, None].expand(-1, y.shape[1], -1)  # memories are kept a node; these are all alike
            s, memory = slide(x, window, state.layers[-1], state.steps)
            held = (*memory.residual, x)
            logits = (s + held[0])[:, 0] / (window.taps + 1)
            after.append(memory._replace(residual=held[1:]))
        return logits, State(state.steps + 1, tuple(after))

    @property
    def layers(self) -> list[Layer]:
        """The layers, typed."""
        return [layer for layer in self.st_gcn if isinstance(layer, Layer)]

    @property
    def state_size(self) -> int:
        """Words of memory a person in streaming: FIFOs, two sums a phase, delayed residuals."""
        return self.config.graph.num_node * sum(
            layer.out_channels * (layer.taps + 2) * layer.dilation + layer.in_channels * layer.residual_delay
            for layer in self.config.memories
        )

    @property
    def macs(self) -> int:
        """Multiplications a frame in streaming, the same for any window."""
        total = self._outer_macs
        if self.lift_head is not None:
            total += sum(layer.weight.numel() for layer in self.lift_head if isinstance(layer, nn.Linear))
        for layer in self.config.layers:
            total += self._graph_conv_macs(layer.in_channels, layer.out_channels)
            if layer.residual == "conv":
                total += self.config.graph.num_node * layer.in_channels * layer.out_channels
        return total


def _lift_head(config: NetworkConfig) -> nn.Sequential:
    """The body's lift windows (..., windows) -> logits (..., classes); it adds nothing until it is trained."""
    assert config.sensors is not None
    last = nn.Linear(config.lift_head, len(config.labels))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(len(config.sensors.lift_windows), config.lift_head),
        nn.ReLU(),
        nn.Linear(config.lift_head, config.lift_head),
        nn.ReLU(),
        last,
    )
