"""An IMFE's stages, timed run by run: what the benchmarks of it share."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.models.file import ModelFile
from edge_runtime.models.metadata import ImfeMetadata
from edge_runtime.pipeline.timing import Passes, StageTimes
from edge_runtime.streams import ImfeOutput, ImfeStream
from edge_runtime.streams.lanes import Lanes

Frames = npt.NDArray[np.uint8]
PARTS = ("encoder", "motion", "head")  # of every IMFE


@dataclass
class Timed:
    """A stream with the seconds that each stage took, run by run."""

    stream: ImfeStream
    times: StageTimes
    stages: dict[str, list[float]]

    @classmethod
    def open(cls, file: ModelFile, hop: int, threads: int) -> Timed:
        assert isinstance(file.metadata, ImfeMetadata)
        spent: dict[str, list[float]] = {stage: [] for stage in file.metadata.stages}

        def watch(found: Mapping[str, Passes]) -> None:
            for stage, passes in found.items():
                spent[stage.removeprefix("imfe.")] += ((passes.ends - passes.starts) / 1e9).tolist()

        times = StageTimes()
        times.watch(watch)
        return cls(ImfeStream(file, hop=hop, threads=threads, observer=times.lap), times, spent)

    def median_ms(self, stage: str) -> float:
        return 1e3 * statistics.median(self.stages[stage])


def in_turns(files: list[ModelFile], frames: Frames, hop: int, threads: int, rounds: int) -> list[Timed]:
    """Stream the same frames through each model, a hop at a time."""
    timed = [Timed.open(file, hop, threads) for file in files]
    for i in range(rounds):
        for each in timed:
            for k in range(hop):
                each.times.resume()
                each.stream.step(frames[(i * hop + k) % len(frames)])
            each.times.deliver()
    return timed


def side_by_side(stream: ImfeStream, frames: Frames, lanes: int) -> list[ImfeOutput]:
    """Frames that wait, in so many of the stream's lanes."""
    waiting, found = list(frames)[::-1], []
    ahead = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, stream.encoders[:lanes])
    while not ahead.over:
        taken = ahead.take()
        if taken is not None and (out := stream.follow(taken[1].result())) is not None:
            found.append(out)
    return found


def per_frame(timed: Timed, metadata: ImfeMetadata, hop: int) -> float:
    """Seconds a frame on average: an encoder each, the pairs that are needed, anything else once a hop."""
    pairs = min(hop, metadata.clip_length - 1) / hop
    runs = {"encoder": 1.0, "motion": pairs}
    return sum(runs.get(stage, 1 / hop) * statistics.median(spent) for stage, spent in timed.stages.items())
