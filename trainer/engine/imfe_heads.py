"""A head trained on an IMFE that stays as it is: its regions are computed once, and an epoch takes a second.

This is how the two-stream pipeline is trained (RT-HARE: frozen RGB and motion features, LSTR on both), and how two
heads are compared on the same features.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trainer.engine.imfe_recogniser import Head, HeadAlone, Recogniser
from trainer.engine.imfe_train import Batch, Recipe, Source, clip_batches, train

log = logging.getLogger(__name__)

# Passes over the clips, each augmented anew. One takes as long as several epochs on what it leaves behind (100 clips of
# three seconds: 3 to 6 s of a core, an epoch 0.3 to 1.3 s).
PASSES = 12


def train_head(net: Recogniser, samples: Source, recipe: Recipe, seed: int, folder: Path) -> Head:
    """Train the head of ``net`` on what its IMFE, which stays as it is, makes of the clips; see `train`.

    Returns:
        The head with averaged weights, in eval mode.

    Raises:
        InputError: as `train`.
    """
    regions = RememberedRegions(net, samples, recipe, seed)
    return train(HeadAlone(net.head), samples, recipe, seed, folder, batches=regions).head.eval()


class RememberedRegions:
    """The batches of `PASSES` epochs, as the regions (L, D, V) of each clip in place of its frames.

    Called with an epoch's generator it gives those of one pass, in a new order. In half precision they take 3 kB a
    result of ``tiny``.
    """

    def __init__(self, net: Recogniser, samples: Source, recipe: Recipe, seed: int) -> None:
        net.eval()
        self._passes: list[list[Batch]] = []
        for i in range(min(PASSES, recipe.epochs)):
            rng = np.random.default_rng([seed, i])
            self._passes.append([_regions(net, batch) for batch in clip_batches(samples, net, recipe, rng)])
            log.info("features: pass %d of %d", i + 1, min(PASSES, recipe.epochs))

    def __call__(self, rng: np.random.Generator) -> Iterator[Batch]:
        batches = self._passes[rng.integers(len(self._passes))]
        return (batches[i] for i in rng.permutation(len(batches)))


@torch.inference_mode()
def _regions(net: Recogniser, batch: Batch) -> Batch:
    regions, _ = net.regions(batch.clips)
    lengths = [net.windows(len(clip)) for clip in batch.clips]
    # clones, because a part of a tensor keeps the whole of it
    return dataclasses.replace(batch, clips=[part.half().clone() for part in torch.split(regions, lengths)])
