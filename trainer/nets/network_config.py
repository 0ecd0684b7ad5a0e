"""What shapes a graph network: its layers, its graph, its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from trainer.nets.config import NetworkOptions, centred, read_options, residual_delays
from trainer.nets.graph import Strategy, load_graph
from trainer.nets.layers import Normalization
from trainer.nets.sensors import RAW_CHANNELS, SensorConfig

Residual = Literal["none", "identity", "conv"]
Source = Literal["regions", "skeleton"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """One layer: it joins ``taps`` frames, ``dilation`` apart; its residual is held back ``residual_delay`` frames."""

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
class NetworkConfig:
    """Everything that shapes a network, and what its exported file will say about itself."""

    in_channels: int
    graph: Graph
    labels: tuple[str, ...]
    layers: tuple[LayerConfig, ...]
    strategy: Strategy = "spatial"
    normalization: Normalization = "LayerNorm"
    edge_importance: bool = True
    input_norm: bool = True
    fps: float = 30.0  # steps a second of the training data
    source: Source = "skeleton"
    background: str | None = None
    window: int = 50  # frames that a network by sliding window sees (published for PKU-MMD); the others have their own
    sensors: SensorConfig | None = None  # for body-worn sensors: raw values become streams, see trainer.nets.sensors
    lift_head: int = 0  # width of the perceptron from the sensors' lift windows to the result (RT-ST-GCN); 0 = none
    average: int = 0  # frames around the one spoken of whose results are averaged (RT-ST-GCN); 0 = none
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)  # the configuration file, if any

    def __post_init__(self) -> None:
        if not self.layers or not self.labels:
            raise InputError("a network needs at least one layer and one class")
        for index, (before, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if before.out_channels != after.in_channels:
                raise InputError(
                    f"layer {index + 1} takes {after.in_channels} channels, layer {index} gives {before.out_channels}"
                )
        if self.sensors and self.in_channels != RAW_CHANNELS:
            raise InputError(f"sensors give {RAW_CHANNELS} channels a node, the network takes {self.in_channels}")
        if self.lift_head and not (self.sensors and self.sensors.lift_windows):
            raise InputError("a lift_head needs sensors with lift_windows")
        if self.background is not None and self.background not in self.labels:
            raise InputError(
                f"background {self.background!r} is not among the labels {', '.join(self.labels[:8])}, ..."
            )

    @property
    def memories(self) -> tuple[LayerConfig, ...]:
        """What has a sliding sum, in the order of the exported graph's layers."""
        return self.sensor_memories + self.layers + ((self.averaging,) if self.averaging else ())

    @property
    def sensor_memories(self) -> tuple[LayerConfig, ...]:
        """The sums that sensor streams keep."""
        kept = self.sensors.memories if self.sensors else ()
        return tuple(LayerConfig(RAW_CHANNELS, channels, frames, residual="none") for channels, frames in kept)

    @property
    def averaging(self) -> LayerConfig | None:
        """The sum over results, if any. The middle one, which sets the delay, counts once more."""
        classes = len(self.labels)
        return LayerConfig(classes, classes, self.average, residual_delay=self.average // 2) if self.average else None

    @classmethod
    def from_options(
        cls, options: NetworkOptions, labels: tuple[str, ...], graph: Graph | None = None
    ) -> NetworkConfig:
        """From a configuration file.

        The published keys ``kernel`` Γ and ``stride`` mean ``dilation = stride`` and ``taps`` = Γ, for RT-ST-GCN
        ``taps = Γ // stride``; a stride other than 1 makes the residual a convolution. Our own files may say ``taps``
        and ``dilation`` instead.
        """
        if options.get("stages", 1) != 1:
            raise InputError(f"{options.path}: {options.network} has one stage, found {options.get('stages')!r}")
        n = options.integer("layers")
        c_in, c_out = options.integers("in_ch", n), options.integers("out_ch", n)
        kernel, stride = options.integers("kernel", n, default=9), options.integers("stride", n, default=1)
        taps, dilation = kernel, stride
        if options.network == "rt-st-gcn":
            taps = tuple(k // s for k, s in zip(kernel, stride, strict=True))
        if options.get("taps") is not None:
            taps, dilation, stride = options.integers("taps", n), options.integers("dilation", n, default=1), (1,) * n
        if min(taps) < 1:
            raise InputError(f"{options.path}: 'kernel' is smaller than 'stride', which leaves no frame to sum")
        residual = options.integers("residual", n, default=1, minimum=0)
        delay: tuple[int, ...] = (0,) * n
        if options.network == "rt-st-gcn":
            delay = residual_delays(options, taps, dilation)
        elif options.network == "co-st-gcn":  # always waits for the middle of the window, as ST-GCN does by its padding
            delay = centred(taps, dilation)
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
            source=_source(options),
            background=options.get("background"),
            window=options.integer("receptive_field", 50),
            sensors=_sensors(options),
            lift_head=options.integer("lift_head", 0, minimum=0) if options.network == "rt-st-gcn" else 0,
            average=options.integer("average", 0, minimum=0) if options.network == "rt-st-gcn" else 0,
            raw=options.raw,
        )

    @classmethod
    def from_json(
        cls, path: str | Path, labels: Sequence[str] | None = None, graph: str | Path | None = None
    ) -> NetworkConfig:
        """From a configuration file; ``labels`` and ``graph`` replace what it names.

        Raises:
            InputError: the file, its action list or its graph cannot be used.
        """
        options = read_options(path)
        names = tuple(labels) if labels is not None else options.labels
        if names is None:
            raise InputError(f"{path}: its action list {options.get('actions')!r} is not here; give one class a line")
        return cls.from_options(options, names, load_graph(graph) if graph is not None else None)


def _sensors(options: NetworkOptions) -> SensorConfig | None:
    value = options.get("sensors")
    if value is None:
        return None
    try:
        return SensorConfig(
            float(value["gravity"]),
            float(value["turn"]),
            int(value["rest_frames"]),
            float(value.get("lift_gain", 1.0)),
            tuple(int(frames) for frames in value.get("lift_windows", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{options.path}: \'sensors\' should be {{"gravity": x, "turn": x, "rest_frames": n}}, found {value!r}'
        ) from error


def _residual(wanted: bool, changes: bool) -> Residual:
    if not wanted:
        return "none"
    return "conv" if changes else "identity"


def _source(options: NetworkOptions) -> Source:
    value = options.get("source", "skeleton")
    if value not in get_args(Source):
        raise InputError(f"{options.path}: 'source' should be skeleton or regions, found {value!r}")
    return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MultiStageConfig:
    """A network of stages of dilated convolutions, each refining the one before (MS-TCN, MS-GCN)."""

    in_channels: int
    graph: Graph
    labels: tuple[str, ...]
    stages: int = 4
    layers: int = 10  # a stage; layer i has dilation 2^i
    filters: int = 64
    dropout: float = 0.0
    strategy: Strategy = "spatial"
    edge_importance: bool = True
    fps: float = 30.0
    source: Source = "skeleton"
    background: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.stages, self.layers, self.filters, len(self.labels)) < 1:
            raise InputError("a multi-stage network needs at least one stage, layer, filter and class")

    @property
    def receptive_field(self) -> int:
        """Frames that one output depends on, half of them ahead: every layer looks 2^i frames both ways."""
        return 1 + 2 * self.stages * ((1 << self.layers) - 1)

    @classmethod
    def from_options(
        cls, options: NetworkOptions, labels: tuple[str, ...], graph: Graph | None = None
    ) -> MultiStageConfig:
        """From a configuration file; a value listed per stage has to be the same for all.

        Published MS-GCN configurations list the refinement stages only, as ``ms-tcn``; the graph stage comes on top.
        """
        listed = options.integer("stages", 4)
        stages = listed + (options.network == "ms-gcn" and "ms-gcn" not in options.raw.get("arch", {}))
        kernel = options.integers("kernel", listed, default=3)
        if set(kernel) != {3}:
            raise InputError(f"{options.path}: {options.network} has kernels of 3 frames, found {kernel}")
        return cls(
            in_channels=options.integer("in_feat"),
            graph=graph or options.graph,
            labels=labels,
            stages=stages,
            layers=_same(options, "layers", options.integers("layers", listed, default=10)),
            filters=_same(options, "filters", options.integers("filters", listed, default=64)),
            dropout=_same(options, "dropout", options.numbers("dropout", listed, 0.0)),
            strategy=options.strategy,
            edge_importance=options.flag("importance", True),
            fps=options.number("fps", 30.0),
            source=_source(options),
            background=options.get("background"),
            raw=options.raw,
        )


def _same(options: NetworkOptions, key: str, values: tuple[T, ...]) -> T:
    if len(set(values)) != 1:
        raise InputError(f"{options.path}: '{key}' should be the same in every stage, found {list(values)}")
    return values[0]
