"""Score a network on trials, whether it is torch's or the exported file that a device runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.data.skeletons import TrialSet
from trainer.engine.distributed import World
from trainer.engine.options import TrainingOptions
from trainer.engine.segments import Passes, predict
from trainer.nets.family import OPTIONAL
from trainer.nets.network import GraphNetwork
from trainer.nets.state_dict import load_state

Logits = npt.NDArray[np.float32]
Predict = Callable[[npt.NDArray[Any]], Logits]  # features (C, L, V) -> logits (classes, L)
Result = tuple[str, Logits, npt.NDArray[np.int64]]  # name, logits, true labels (L,)


def score(run: Predict, trials: TrialSet, world: World) -> Iterator[Result]:
    """Logits and truth of every trial, in order; processes share the work and all get the whole."""
    mine = world.share(range(len(trials)))
    found: dict[int, Result] = {}
    for index in tqdm(mine, "trials", leave=False, disable=None):
        trial = trials[index]
        found[index] = trial.name, run(trial.features), trial.labels
    everything = {index: result for part in world.gather(found) for index, result in part.items()}
    return (everything[index] for index in range(len(trials)))


def checkpoint_logits(net: GraphNetwork, weights: Path, options: TrainingOptions, world: World) -> Predict:
    """The network with the weights of a checkpoint, segment by segment.

    Raises:
        InputError: the checkpoint is missing, damaged, or does not fit the network.
    """
    load_weights(net, weights)
    net.to(world.device).eval()
    passes = Passes(options.segment, 1, options.optimizer.amp, world.device)
    return lambda features: predict(net, features, passes)


def load_weights(net: GraphNetwork, weights: Path) -> None:
    """Load a checkpoint into ``net``.

    Raises:
        InputError: the checkpoint is missing, damaged, or does not fit the network.
    """
    load_state(net, checkpoint.load(weights), "model_state_dict", str(weights), optional=OPTIONAL)


def streamed_logits(file: Path, labels: tuple[str, ...]) -> Predict:
    """An exported RT-ST-GCN, one frame at a time as on a device.

    With a delay of d frames the stream ends before it has spoken of the last d; they get its last word.

    Raises:
        InputError: not such a model, or one of other classes.
    """
    from edge_runtime import RtStgcnStream

    stream = RtStgcnStream(file)
    if stream.metadata.labels != labels:
        raise InputError(
            f"{file}: its classes are {', '.join(stream.metadata.labels)}; the dataset's are {', '.join(labels)}"
        )
    delay = stream.metadata.delay

    def run(features: npt.NDArray[Any]) -> Logits:
        stream.reset()
        frames = np.ascontiguousarray(np.moveaxis(features, 1, 0), dtype=np.float32)  # (L, C, V)
        logits = stream.steps(frames).T
        return np.concatenate([logits[:, delay:], np.repeat(logits[:, -1:], min(delay, len(frames)), axis=1)], axis=1)

    return run
