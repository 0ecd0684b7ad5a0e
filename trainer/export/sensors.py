"""The sensor streams (trainer/nets/sensors.py) as part of the step graph; their sums are its first layers."""

from __future__ import annotations

import numpy as np

from trainer.export import sums
from trainer.export.builder import GraphBuilder
from trainer.nets.sensors import PRIOR_FRAMES, REST_SUMS, SensorConfig


class SensorGraph:
    """Writes the operations of ``SensorStreams`` on one frame of N people into ``graph``."""

    def __init__(self, graph: GraphBuilder, config: SensorConfig, nodes: int) -> None:
        self._g = graph
        self._config = config
        self._nodes = nodes
        self.order: dict[str, str] = {}

    def streams(self, x: str) -> str:
        """Raw frames (N, V, 6) -> streams (N, V, C)."""
        acceleration = self._scaled(self._part(x, 0, 3, "acceleration"), 1 / self._config.gravity, "gravities")
        turn = self._scaled(self._part(x, 3, 6, "gyroscope"), 1 / self._config.turn, "turn")
        squared = self._op("Mul", (acceleration, acceleration), "squared")
        length = self._op("Sqrt", (self._op("ReduceSum", (squared, self._axis()), "sum", keepdims=1),), "length")
        weight = self._op("Sub", (length, self._number(1.0)), "weight")
        excess = self._op("Sub", (weight, self._rest(weight)), "excess")
        lift = self._lift(excess, turn)
        everywhere = self._constant(np.ones((self._nodes, 1), np.float32))
        parts = (
            self._op("Mul", (self._scaled(lift, self._config.lift_gain, "lift.gain"), everywhere), "lift.nodes"),
            *(self._speed(1 + i, lift, everywhere) for i in range(len(self._config.lift_windows))),
            acceleration,
            self._tanh(turn, 1.0, "brisk"),
            self._tanh(turn, 1 / 8, "violent"),
            self._scaled(weight, 4.0, "weight.scaled"),
            self._logarithm(weight, "weight.log"),
            self._scaled(self._logarithm(turn, "turn.log"), 0.5, "turn.log.half"),
        )
        return self._op("Concat", parts, "streams", axis=-1)

    def _rest(self, weight: str) -> str:
        """The sensor's own rest level, from the sums that memory 0 keeps."""
        remaining = sums.remaining(self._g, 0, ("N", self._nodes, REST_SUMS))
        calm = self._op("Exp", (self._op("Neg", (self._squared(weight, 12.0, "calm"),), "calm.negative"),), "calm")
        parts = self._op("Mul", (calm, weight), "calm.weight"), calm
        total = self._total(0, remaining, self._g.op("Concat", parts, "entering.0", axis=-1), REST_SUMS)
        frames = self._op("Add", (self._part(total, 1, 2, "calm.sum"), self._number(PRIOR_FRAMES)), "frames")
        return self._op("Div", (self._part(total, 0, 1, "weight.sum"), frames), "rest")

    def _lift(self, excess: str, turn: str) -> str:
        """What is added to the whole body's weight, (N, 1, 1)."""
        turning = self._op("ReduceSum", (self._squared(turn, 3.0, "turning"), self._axis()), "turning", keepdims=1)
        doubt = self._op("Add", (turning, self._squared(excess, 4.0, "jerk")), "doubt")
        trust = self._op("Exp", (self._op("Neg", (doubt,), "doubt.negative"),), "trust")
        trusted = self._over_body(self._op("Mul", (trust, excess), "trusted"), "trusted.sum")
        weights = self._op("Add", (self._over_body(trust, "trust.sum"), self._number(1.0)), "weights")
        rise = self._op("Div", (trusted, weights), "rise")
        faint = self._op("Exp", (self._op("Neg", (self._squared(rise, 50.0, "rise"),), "rise.negative"),), "faint")
        return self._op("Mul", (rise, self._op("Sub", (self._number(1.0), faint), "clear")), "lift")

    def _speed(self, memory: int, lift: str, everywhere: str) -> str:
        """What ``lift`` sums up to over a memory's window, (N, V, 1)."""
        remaining = sums.remaining(self._g, memory, ("N", self._nodes, 1))
        return self._total(memory, remaining, self._g.op("Mul", (lift, everywhere), f"entering.{memory}"), 1)

    def _total(self, memory: int, remaining: str, entering: str, channels: int) -> str:
        self.order[entering] = remaining  # the leaving frame's memory is the entering frame's
        return sums.total(self._g, memory, remaining, entering, ("N", self._nodes, channels))

    def _op(self, kind: str, inputs: tuple[str, ...], name: str, **attributes: int) -> str:
        return self._g.op(kind, inputs, f"sensors.{name}", **attributes)

    def _constant(self, value: np.ndarray) -> str:
        name = f"sensors.constant.{value.dtype}.{'_'.join(map(str, value.reshape(-1)))}"
        return self._g.weight(name, value)

    def _number(self, value: float) -> str:
        return self._constant(np.array([value], np.float32))

    def _axis(self) -> str:
        return self._constant(np.array([-1], np.int64))

    def _part(self, x: str, start: int, stop: int, name: str) -> str:
        bounds = (self._constant(np.array([at], np.int64)) for at in (start, stop, -1))
        return self._op("Slice", (x, *bounds), name)

    def _scaled(self, x: str, factor: float, name: str) -> str:
        return x if factor == 1.0 else self._op("Mul", (x, self._number(factor)), name)

    def _tanh(self, x: str, gain: float, name: str) -> str:
        return self._op("Tanh", (self._scaled(x, gain, f"{name}.gain"),), name)

    def _squared(self, x: str, gain: float, name: str) -> str:
        """(gain x)²."""
        scaled = self._scaled(x, gain, f"{name}.scaled")
        return self._op("Mul", (scaled, scaled), f"{name}.squared")

    def _over_body(self, x: str, name: str) -> str:
        """Summed over the nodes, (N, V, 1) -> (N, 1, 1)."""
        return self._op("ReduceSum", (x, self._constant(np.array([-2], np.int64))), name, keepdims=1)

    def _logarithm(self, x: str, name: str) -> str:
        """log(1 + 10 |x|)."""
        tenfold = self._scaled(self._op("Abs", (x,), f"{name}.abs"), 10.0, f"{name}.tenfold")
        return self._op("Log", (self._op("Add", (tenfold, self._number(1.0)), f"{name}.argument"),), name)
