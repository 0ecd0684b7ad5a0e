"""The sensor streams (trainer/nets/sensors.py) as part of the step graph; their two sums are its layer 0."""

from __future__ import annotations

import numpy as np

from trainer.export.builder import GraphBuilder
from trainer.nets.sensors import PRIOR_FRAMES, SUMS, SensorConfig


class SensorGraph:
    """Writes the operations of ``SensorStreams`` on one frame of N people into ``graph``."""

    def __init__(self, graph: GraphBuilder, config: SensorConfig, nodes: int) -> None:
        self._g = graph
        self._config = config
        self._nodes = nodes
        self.order: dict[str, str] = {}

    def streams(self, x: str) -> str:
        """Raw frames (N, V, 6) -> streams (N, V, 15)."""
        acceleration = self._scaled(self._part(x, 0, 3, "acceleration"), 1 / self._config.gravity, "gravities")
        turn = self._scaled(self._part(x, 3, 6, "gyroscope"), 1 / self._config.turn, "turn")
        squared = self._op("Mul", (acceleration, acceleration), "squared")
        length = self._op("Sqrt", (self._op("ReduceSum", (squared, self._axis()), "sum", keepdims=1),), "length")
        weight = self._op("Sub", (length, self._number(1.0)), "weight")
        excess = self._op("Sub", (weight, self._rest(weight)), "excess")
        lift = self._op("Mul", (self._tanh(excess, 12.0, "lift"), self._still(turn)), "lift.still")
        parts = (
            self._scaled(lift, self._config.lift_gain, "lift.gain.out"),
            acceleration,
            self._tanh(turn, 1.0, "brisk"),
            self._tanh(turn, 1 / 8, "violent"),
            self._scaled(weight, 4.0, "weight.scaled"),
            self._logarithm(weight, "weight.log"),
            self._scaled(self._logarithm(turn, "turn.log"), 0.5, "turn.log.half"),
        )
        return self._op("Concat", parts, "streams", axis=-1)

    def _still(self, turn: str) -> str:
        """1 while the sensor does not turn."""
        tripled = self._scaled(turn, 3.0, "turn.tripled")
        squared = self._op("Mul", (tripled, tripled), "turn.squared")
        total = self._op("ReduceSum", (squared, self._axis()), "turn.total", keepdims=1)
        return self._op("Exp", (self._op("Neg", (total,), "turn.negative"),), "still")

    def _rest(self, weight: str) -> str:
        """The sensor's own rest level, from the sums that layer 0 keeps."""
        g, state = self._g, ("N", self._nodes, SUMS)
        running, fresh, leaving = (g.input(f"{part}.0", state) for part in ("sum", "fresh", "leaving"))
        remaining = self._op("Sub", (running, leaving), "remaining")
        calm = self._bell(weight, 12.0, "calm")
        entering = g.op("Concat", (self._op("Mul", (calm, weight), "calm.weight"), calm), "entering.0", axis=-1)
        self.order[entering] = remaining  # the leaving frame's memory is the entering frame's
        total = g.op("Add", (remaining, entering), "sum.0.out")
        g.op("Add", (fresh, entering), "fresh.0.out")
        for output in ("sum.0.out", "fresh.0.out", "entering.0"):
            g.output(output, state)
        frames = self._op("Add", (self._part(total, 1, 2, "calm.sum"), self._number(PRIOR_FRAMES)), "frames")
        return self._op("Div", (self._part(total, 0, 1, "weight.sum"), frames), "rest")

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

    def _bell(self, x: str, gain: float, name: str) -> str:
        """exp(-(gain x)²)."""
        scaled = self._scaled(x, gain, f"{name}.gain")
        squared = self._op("Mul", (scaled, scaled), f"{name}.squared")
        return self._op("Exp", (self._op("Neg", (squared,), f"{name}.negative"),), name)

    def _logarithm(self, x: str, name: str) -> str:
        """log(1 + 10 |x|)."""
        tenfold = self._scaled(self._op("Abs", (x,), f"{name}.abs"), 10.0, f"{name}.tenfold")
        return self._op("Log", (self._op("Add", (tenfold, self._number(1.0)), f"{name}.argument"),), name)
