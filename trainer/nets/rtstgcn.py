"""RT-ST-GCN (Yudayev, Filtjens, Balasch, MLSP 2024): an ST-GCN whose temporal convolution is an unweighted sum.

::

    layer:   x_t ──► graph convolution ──► h_t ──► s_t = Σ_{i<taps} h_{t - i·dilation} ──► norm, ReLU ──(+)──► ReLU ──►
               └──────────── held back by residual_delay ──► identity | 1x1 conv, norm ─────────────────┘

    network: x (C, V) ──► [scale] ──► [sensor streams] ──► [norm] ──► 1x1 ──► layers ──► mean over nodes ──► 1x1 ──►
             logits (classes)

One set of parameters, two forms: ``forward`` over whole trials, to train, and the pure ``step`` of one frame, whose
cost does not depend on the window because ``s_t = s_{t-d} + h_t - h_{t-taps·d}``. docs/networks.md says why they agree.
Parameter names are the published ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from trainer.engine import checkpoint as checkpoints
from trainer.nets.config import NetworkOptions, numbered_labels, read_labels, read_options, residual_delays
from trainer.nets.graph import Strategy, adjacency, load_graph
from trainer.nets.layers import (
    ChannelNorm,
    GraphConv,
    Normalization,
    PointwiseNorm,
    delayed,
    frame_norm,
    pointwise,
    sliding_sum,
)
from trainer.nets.sensors import RAW_CHANNELS, STREAMS, SUMS, SensorConfig, SensorStreams
from trainer.nets.state_dict import load_state

log = logging.getLogger(__name__)

Residual = Literal["none", "identity", "conv"]


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """One layer: ``taps`` frames, ``dilation`` apart, are summed; the residual is held back ``residual_delay``."""

    in_channels: int
    out_channels: int
    taps: int
    dilation: int = 1
    residual: Residual = "identity"
    residual_delay: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.residual == "identity" and self.in_channels != self.out_channels:
            raise InputError(f"an identity residual cannot join {self.in_channels} and {self.out_channels} channels")
        if self.residual == "none" and self.residual_delay:
            raise InputError("a layer without a residual has nothing to delay")


@dataclass(frozen=True)
class RtStgcnConfig:
    """Everything that shapes the network, and what its exported file will say about itself."""

    in_channels: int
    graph: Graph
    labels: tuple[str, ...]
    layers: tuple[LayerConfig, ...]
    strategy: Strategy = "spatial"
    normalization: Normalization = "LayerNorm"
    edge_importance: bool = True
    input_norm: bool = True
    fps: float = 30.0  # steps a second of the training data
    source: Literal["regions", "skeleton"] = "skeleton"
    background: str | None = None
    sensors: SensorConfig | None = None  # for body-worn sensors: raw values become streams, see trainer.nets.sensors
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)  # the configuration file, if any

    def __post_init__(self) -> None:
        if not self.layers or not self.labels:
            raise InputError("RT-ST-GCN needs at least one layer and one class")
        for index, (before, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if before.out_channels != after.in_channels:
                raise InputError(
                    f"layer {index + 1} takes {after.in_channels} channels, layer {index} gives {before.out_channels}"
                )
        if self.sensors and self.in_channels != RAW_CHANNELS:
            raise InputError(f"sensors give {RAW_CHANNELS} channels a node, the network takes {self.in_channels}")
        if self.background is not None and self.background not in self.labels:
            raise InputError(
                f"background {self.background!r} is not among the labels {', '.join(self.labels[:8])}, ..."
            )

    @property
    def memories(self) -> tuple[LayerConfig, ...]:
        """What has a sliding sum, in the order of the exported graph's layers."""
        if self.sensors is None:
            return self.layers
        return (LayerConfig(RAW_CHANNELS, SUMS, self.sensors.rest_frames, residual="none"), *self.layers)

    @classmethod
    def from_options(
        cls, options: NetworkOptions, labels: tuple[str, ...], graph: Graph | None = None
    ) -> RtStgcnConfig:
        """From a configuration file.

        The published keys ``kernel`` Γ and ``stride`` mean ``taps = Γ // stride`` and ``dilation = stride``, and a
        stride other than 1 makes the residual a convolution. Our own files may say ``taps`` and ``dilation`` instead.
        """
        if options.get("stages", 1) != 1:
            raise InputError(f"{options.path}: RT-ST-GCN has one stage, found {options.get('stages')!r}")
        n = options.integer("layers")
        c_in, c_out = options.integers("in_ch", n), options.integers("out_ch", n)
        kernel, stride = options.integers("kernel", n, default=9), options.integers("stride", n, default=1)
        taps, dilation = tuple(k // s for k, s in zip(kernel, stride, strict=True)), stride
        if options.get("taps") is not None:
            taps, dilation, stride = options.integers("taps", n), options.integers("dilation", n, default=1), (1,) * n
        if min(taps) < 1:
            raise InputError(f"{options.path}: 'kernel' is smaller than 'stride', which leaves no frame to sum")
        residual = options.integers("residual", n, default=1, minimum=0)
        delay = residual_delays(options, taps, dilation)
        dropout = options.numbers("dropout", n, 0.0)
        layers = tuple(
            LayerConfig(
                in_channels=c_in[i],
                out_channels=c_out[i],
                taps=taps[i],
                dilation=dilation[i],
                residual=_residual(bool(residual[i]), c_in[i] != c_out[i] or stride[i] != 1),
                residual_delay=delay[i] if residual[i] else 0,
                dropout=dropout[i],
            )
            for i in range(n)
        )
        source = options.get("source", "skeleton")
        if source not in ("skeleton", "regions"):
            raise InputError(f"{options.path}: 'source' should be skeleton or regions, found {source!r}")
        return cls(
            in_channels=options.integer("in_feat"),
            graph=graph or options.graph,
            labels=labels,
            layers=layers,
            strategy=options.strategy,
            normalization=options.normalization,
            edge_importance=options.flag("importance", True),
            input_norm=options.flag("input_norm", True),
            fps=options.number("fps", 30.0),
            source=source,
            background=options.get("background"),
            sensors=_sensors(options),
            raw=options.raw,
        )

    @classmethod
    def from_json(
        cls, path: str | Path, labels: Sequence[str] | None = None, graph: str | Path | None = None
    ) -> RtStgcnConfig:
        """From a configuration file; ``labels`` and ``graph`` replace what it names.

        Raises:
            InputError: the file, its action list or its graph cannot be used.
        """
        options = read_options(path, *SECTIONS)
        names = tuple(labels) if labels is not None else options.labels
        if names is None:
            raise InputError(f"{path}: its action list {options.get('actions')!r} is not here; give one class a line")
        return cls.from_options(options, names, load_graph(graph) if graph is not None else None)


SECTIONS = ("rt-st-gcn", "rtstgcn")  # where ``arch`` holds this network's options


def _sensors(options: NetworkOptions) -> SensorConfig | None:
    value = options.get("sensors")
    if value is None:
        return None
    try:
        return SensorConfig(float(value["gravity"]), float(value["turn"]), int(value["rest_frames"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{options.path}: \'sensors\' should be {{"gravity": x, "turn": x, "rest_frames": n}}, found {value!r}'
        ) from error


def _residual(wanted: bool, changes: bool) -> Residual:
    if not wanted:
        return "none"
    return "conv" if changes else "identity"


class LayerState(NamedTuple):
    """One layer's memory. Every tensor is (N, V, C); ``fifo`` and ``residual`` have the oldest frame first.

    ::

        fifo      h_{t-taps·d} … h_{t-1}       taps · dilation frames; the first leaves when the next enters
        sums      running sums                  one a phase of the dilation, used in turn
        fresh     sums since the last swap      replace ``sums`` each time a phase has seen ``taps`` frames
        residual  x_{t-delay} … x_{t-1}
    """

    fifo: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]
    fresh: tuple[Tensor, ...]
    residual: tuple[Tensor, ...]


class State(NamedTuple):
    """The network's memory: frames seen so far, and the layers'."""

    steps: int
    layers: tuple[LayerState, ...]


def initial_memory(config: LayerConfig, like: Tensor, N: int, V: int) -> LayerState:
    """An empty memory of one layer."""
    h, x = like.new_zeros(N, V, config.out_channels), like.new_zeros(N, V, config.in_channels)
    window = config.taps * config.dilation
    return LayerState((h,) * window, (h,) * config.dilation, (h,) * config.dilation, (x,) * config.residual_delay)


def slide(h: Tensor, config: LayerConfig, state: LayerState, steps: int) -> tuple[Tensor, LayerState]:
    """Let ``h`` (N, V, C) enter the window: its sum, and the memory after ``steps`` + 1 frames."""
    turn, phase = divmod(steps, config.dilation)
    s = state.sums[phase] + h - state.fifo[0]
    fresh = state.fresh[phase] + h
    wrapped = (turn + 1) % config.taps == 0
    kept = (fresh, torch.zeros_like(fresh)) if wrapped else (s, fresh)
    return s, state._replace(
        fifo=(*state.fifo[1:], h),
        sums=(*state.sums[:phase], kept[0], *state.sums[phase + 1 :]),
        fresh=(*state.fresh[:phase], kept[1], *state.fresh[phase + 1 :]),
    )


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
            rate: ``x`` holds every ``rate``-th frame only; the window and the delay are multiples of it.
            thin: give every ``thin``-th output only. The sum commutes with the convolution, which is linear and
                therefore runs on as few frames.
        """
        taps, dilation, delay = self.config.taps, self.config.dilation // rate, self.config.residual_delay // rate
        skipped = delayed(x, delay)
        if thin == 1:
            return self._join(sliding_sum(super().forward(x, A), taps, dilation), skipped)
        kept = slice(thin - 1, None, thin)
        seen = (torch.arange(x.shape[1], device=x.device)[kept] // dilation + 1).clamp(max=taps)
        s = super().forward(sliding_sum(x, taps, dilation)[:, kept], A, seen.to(x.dtype))
        return self._join(s, skipped[:, kept])

    def _join(self, s: Tensor, skipped: Tensor) -> Tensor:
        """Window sum and input, normalised and added."""
        y: Tensor = self.bn_relu(s)
        match self.config.residual:
            case "identity":
                y = F.relu(y + skipped)
            case "conv":
                assert self.residual is not None
                y = F.relu(y + self.residual(skipped))
        out: Tensor = self.dropout(y)
        return out

    def step(self, x: Tensor, A: Tensor, state: LayerState, steps: int) -> tuple[Tensor, LayerState]:
        """One frame (N, V, C_in) -> (N, V, C_out); ``steps`` is how many came before."""
        h = super().forward(x[:, None], A)[:, 0]
        s, state = slide(h, self.config, state, steps)
        held = (*state.residual, x)
        return self._join(s, held[0]), state._replace(residual=held[1:])


class RtStgcn(nn.Module):
    """The network. N people at once, V nodes, C channels, L frames."""

    A: Tensor
    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: RtStgcnConfig) -> None:
        super().__init__()
        self.config = config
        C, V = config.in_channels, config.graph.num_node
        first, last = config.layers[0].in_channels, config.layers[-1].out_channels
        self.register_buffer("A", torch.from_numpy(adjacency(config.graph, config.strategy)))
        # raw input is shifted and scaled by these, so that a stream feeds what the sensor gives
        self.register_buffer("input_mean", torch.zeros(C, V))
        self.register_buffer("input_scale", torch.ones(C, V))
        self.sensors = SensorStreams(config.sensors) if config.sensors else None
        streams = STREAMS if config.sensors else C
        self.norm_in = _input_norm(config.normalization, streams, V) if config.input_norm else nn.Identity()
        self.fcn_in = nn.Conv2d(streams, first, 1)
        self.st_gcn = nn.ModuleList(
            Layer(layer, self.A, config.normalization, config.edge_importance) for layer in config.layers
        )
        self.fcn_out = nn.Conv2d(last, len(config.labels), 1)

    def set_input_normalisation(self, mean: Tensor, scale: Tensor) -> None:
        """Make the network take ``(x - mean) * scale``; (C, V) or (C, 1) each."""
        self.input_mean.copy_(mean.expand_as(self.input_mean))
        self.input_scale.copy_(scale.expand_as(self.input_scale))

    def forward(self, x: Tensor, every: int = 1) -> Tensor:
        """Whole trials (N, C, L, V) -> logits (N, classes, L); the logits at t speak of frame ``t - delay``.

        With ``every`` = n only the logits of the frames n-1, 2n-1, ... are computed, (N, classes, L // n), and exactly:
        layers whose dilation is a multiple of n need no frames but those, so training is nearly n times faster.
        """
        y = self._scale(x.permute(0, 2, 3, 1))
        y = self._embed(y if self.sensors is None else self.sensors(y))
        dense = self._dense_layers(every)
        for index, layer in enumerate(self.layers):
            y = layer(y, self.A, rate=1 if index <= dense else every, thin=every if index == dense else 1)
        return self._classify(y).transpose(1, 2)

    def _dense_layers(self, every: int) -> int:
        """Index of the last layer that needs all frames: every later window is made of multiples of ``every``."""
        loose = [i for i, c in enumerate(self.config.layers) if c.dilation % every or c.residual_delay % every]
        return max(loose, default=0)

    def initial_state(self, N: int = 1) -> State:
        """Memory before the first frame."""
        V = self.config.graph.num_node
        return State(0, tuple(initial_memory(c, self.input_mean, N, V) for c in self.config.memories))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame (N, C, V) -> logits (N, classes) and the new memory; the old one stays as it was."""
        y, before, after = self._scale(x.transpose(1, 2)), list(state.layers), []
        if self.sensors is not None:
            sums, memory = slide(self.sensors.entering(y), self.config.memories[0], before.pop(0), state.steps)
            y = self.sensors.streams(y, sums)
            after.append(memory)
        y = self._embed(y[:, None])[:, 0]
        for layer, memory in zip(self.layers, before, strict=True):
            y, memory = layer.step(y, self.A, memory, state.steps)
            after.append(memory)
        return self._classify(y), State(state.steps + 1, tuple(after))

    def _scale(self, x: Tensor) -> Tensor:
        """Raw frames (..., V, C), shifted and scaled."""
        return (x - self.input_mean.t()) * self.input_scale.t()

    def _embed(self, x: Tensor) -> Tensor:
        """Scaled frames or streams (N, L, V, C) -> (N, L, V, C of the first layer)."""
        # BatchNorm has a statistic for each node and channel
        x = self.norm_in(x.flatten(2)).view_as(x) if isinstance(self.norm_in, ChannelNorm) else self.norm_in(x)
        return pointwise(self.fcn_in, x)

    def _classify(self, x: Tensor) -> Tensor:
        """(..., V, C) -> logits (..., classes)."""
        return pointwise(self.fcn_out, x.mean(-2))

    @property
    def layers(self) -> list[Layer]:
        """The layers, typed."""
        return [layer for layer in self.st_gcn if isinstance(layer, Layer)]

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on."""
        return 1 + sum((layer.taps - 1) * layer.dilation for layer in self.config.memories)

    @property
    def delay(self) -> int:
        """Frames between the one that an output speaks of and the one that it needed."""
        return sum(layer.residual_delay for layer in self.config.layers)

    @property
    def state_size(self) -> int:
        """Words of memory a person in streaming: FIFOs, two sums a phase, delayed residuals."""
        V = self.config.graph.num_node
        return V * sum(
            layer.out_channels * (layer.taps + 2) * layer.dilation + layer.in_channels * layer.residual_delay
            for layer in self.config.memories
        )

    @property
    def macs(self) -> int:
        """Multiplications a frame in streaming, the same for any window."""
        V, P = self.config.graph.num_node, self.A.shape[0]
        total = V * self.fcn_in.in_channels * self.fcn_in.out_channels
        for layer in self.config.layers:
            total += P * V * V * layer.in_channels + P * V * layer.in_channels * layer.out_channels
            total += V * layer.in_channels * layer.out_channels if layer.residual == "conv" else 0
        return total + math.prod(self.fcn_out.weight.shape)


def _input_norm(kind: Normalization, channels: int, nodes: int) -> nn.Module:
    # as in ST-GCN, BatchNorm at the input tells the nodes apart: each has its own range
    return ChannelNorm(nodes * channels) if kind == "BatchNorm" else frame_norm(kind, channels, nodes)


OPTIONAL = ("input_mean", "input_scale")  # absent from published checkpoints, where nothing is scaled


def load_rtstgcn(
    config: str | Path,
    checkpoint: str | Path,
    labels: str | Path | None = None,
    graph: str | Path | None = None,
) -> RtStgcn:
    """The network in eval mode from a configuration file and a checkpoint ``{"model_state_dict": ...}``.

    Args:
        labels: action list, instead of the one that the configuration names. When neither is here the classes are
            numbered, as many as the checkpoint has.
        graph: graph file, instead of the configuration's.

    Raises:
        InputError: a file that cannot be read, or a checkpoint that does not fit the configuration.
    """
    options = read_options(config, *SECTIONS)
    stored = checkpoints.load(Path(checkpoint))
    names = read_labels(labels) if labels is not None else options.labels
    if names is None:
        names = numbered_labels(_count_classes(stored, checkpoint))
        log.warning(
            "%s: no action list %s here; its %d classes are numbered", config, options.get("actions"), len(names)
        )
    model = RtStgcn(RtStgcnConfig.from_options(options, names, load_graph(graph) if graph is not None else None))
    load_state(model, stored, "model_state_dict", str(checkpoint), optional=OPTIONAL)
    return model.eval()


def _count_classes(checkpoint: dict[str, Any], origin: str | Path) -> int:
    state = checkpoint.get("model_state_dict", checkpoint)
    weight = next((value for name, value in state.items() if name.endswith("fcn_out.weight")), None)
    if not isinstance(weight, Tensor):
        raise InputError(f"{origin}: no 'fcn_out.weight' in 'model_state_dict': not an RT-ST-GCN checkpoint")
    return int(weight.shape[0])
