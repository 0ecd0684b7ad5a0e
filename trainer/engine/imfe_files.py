"""``model.pt``: the trained weights with all that is needed to build their networks again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from edge_runtime.errors import InputError
from trainer import checkpoint
from trainer.engine.imfe_recogniser import ClipNet, Recogniser

if TYPE_CHECKING:
    from trainer.engine.imfe_train import Recipe


def save_recogniser(path: Path, net: Recogniser, recipe: Recipe) -> None:
    """Weights, recipe and labels. ``model`` and ``config`` are what ``trainer imfe export`` looks for."""
    checkpoint.save(
        path,
        {
            "model": net.imfe.state_dict(),
            "config": dataclasses.asdict(net.imfe.config),
            "head": net.head.state_dict(),
            "labels": list(net.head.config.labels),
            "background": net.head.config.background,
            "recipe": dataclasses.asdict(recipe),
            "flow_readout": net.flow_readout.state_dict(),
        },
    )


def save_stream(path: Path, net: ClipNet) -> None:
    """The RGB stream of a net that has one, for `start_from`."""
    weights = {name: value for name, value in net.state_dict().items() if name.startswith("appearance.")}
    checkpoint.save(path, {"model": weights, "labels": list(net.labels), "background": net.background})


def start_from(net: Recogniser, path: Path, with_head: bool = True) -> tuple[int, int]:
    """Copy from ``model.pt`` every tensor whose name and shape agree; (copied, all of the network's).

    A head for other classes keeps its last layer as it is; without ``with_head`` all of it stays.

    Raises:
        InputError: not such a file, or nothing in it fits.
    """
    stored = checkpoint.load(path)
    copied = total = 0
    parts = [(net.imfe, "model"), (net.flow_readout, "flow_readout"), *([(net.head, "head")] if with_head else [])]
    for part, key in parts:
        given = stored.get(key, {})
        if not isinstance(given, dict):
            raise InputError(f"{path}: expected a state dict under '{key}', found {type(given).__name__}")
        own = part.state_dict()
        total += len(own)
        fitting: dict[str, Tensor] = {
            name: value for name, value in given.items() if name in own and own[name].shape == value.shape
        }
        part.load_state_dict(fitting, strict=False)
        copied += len(fitting)
    if not copied:
        raise InputError(f"{path}: no tensor of it fits this network; was it made with another recipe?")
    return copied, total
