"""What range each activation takes on real data: the network is stepped plainly over trials, and watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import onnx

from edge_runtime.errors import InputError
from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import RtStgcnLayer, RtStgcnMetadata
from edge_runtime.models.session import open_session
from edge_runtime.quantization.matmul import Range
from edge_runtime.streams.missing import LastSeen

Array = npt.NDArray[np.float32]


def activation_ranges(file: ModelFile, tensors: Collection[str], trials: Iterable[Array]) -> dict[str, Range]:
    """Least and greatest value of each inner tensor of an RT-ST-GCN over all steps of ``trials``, (L, C, V) each.

    Raises:
        InputError: no trial holds a step.
    """
    meta = file.metadata
    assert isinstance(meta, RtStgcnMetadata)
    watched = onnx.ModelProto()
    watched.CopyFrom(file.proto)
    outputs = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in set(tensors) - outputs)
    session = open_session(watched.SerializeToString(), name=str(file.path)).ort
    names = [value.name for value in session.get_outputs()]

    low = dict.fromkeys(tensors, np.inf)
    high = dict.fromkeys(tensors, -np.inf)
    for trial in trials:
        states = [_PlainState(i, layer, meta.graph.num_node) for i, layer in enumerate(meta.layers)]
        held = LastSeen((1, meta.in_channels, meta.graph.num_node))
        for x in trial:
            held.take(x[np.newaxis])
            feeds = {"x": held.values}
            for state in states:
                feeds |= state.inputs()
            values = dict(zip(names, session.run(names, feeds), strict=True))
            for state in states:
                state.take(values)
            for name in tensors:
                low[name] = min(low[name], float(values[name].min()))
                high[name] = max(high[name], float(values[name].max()))
    if not all(np.isfinite(low[name]) and np.isfinite(high[name]) for name in tensors):
        raise InputError("calibration data: no finite step in them; give at least one trial")
    return {name: (low[name], high[name]) for name in tensors}


class _PlainState:
    """One layer's state as a list of frames and float64 sums: obvious, and a second opinion on
    ``edge_runtime.streams.fifo``."""

    def __init__(self, index: int, layer: RtStgcnLayer, nodes: int) -> None:
        empty = np.zeros((1, nodes, layer.out_channels), np.float32)
        self._frames = deque([empty] * (layer.taps * layer.dilation), maxlen=layer.taps * layer.dilation)
        self._sums = deque([empty.astype(np.float64)] * layer.dilation, maxlen=layer.dilation)  # the next phase's first
        entry = np.zeros((1, nodes, layer.in_channels), np.float32)
        self._residual = deque([entry] * layer.residual_delay, maxlen=layer.residual_delay)
        self._index, self._layer = index, layer

    def inputs(self) -> dict[str, Array]:
        """The step's state tensors."""
        i, leaving = self._index, self._frames[0]
        feeds = {f"residual_leaving.{i}": self._residual[0]} if self._residual else {}
        if self._layer.memory == "sum":
            running = self._sums[0].astype(np.float32)
            feeds |= {f"leaving.{i}": leaving, f"sum.{i}": running, f"fresh.{i}": np.zeros_like(leaving)}
        elif self._layer.taps > 1:
            frames = list(self._frames)
            feeds[f"window.{i}"] = np.stack(frames[self._layer.dilation :: self._layer.dilation])
        return feeds

    def take(self, outputs: dict[str, Array]) -> None:
        """Let the step's frames enter; the oldest leave."""
        entering = outputs[f"entering.{self._index}"]
        if self._layer.memory == "sum":
            self._sums.append(self._sums[0] + entering - self._frames[0])
        self._frames.append(entering)
        if self._residual:
            self._residual.append(outputs[f"residual_entering.{self._index}"])
