"""Which network a configuration file means, and that network, with or without a checkpoint's weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from edge_runtime.errors import InputError
from trainer import checkpoint as checkpoints
from trainer.nets.aagcn import Aagcn
from trainer.nets.config import NetworkOptions, numbered_labels, read_labels, read_options
from trainer.nets.costgcn import CoStGcn
from trainer.nets.graph import load_graph
from trainer.nets.msgcn import MsGcn
from trainer.nets.mstcn import MsTcn
from trainer.nets.network import GraphNetwork
from trainer.nets.network_config import MultiStageConfig, NetworkConfig
from trainer.nets.rtstgcn import RtStgcn
from trainer.nets.shiftgcn import ShiftGcn
from trainer.nets.state_dict import load_state
from trainer.nets.stgcn import StGcn

log = logging.getLogger(__name__)

# name in configuration files -> network, and what it is configured by
LAYERED: dict[str, Callable[[NetworkConfig], GraphNetwork]] = {
    "rt-st-gcn": RtStgcn,
    "st-gcn": StGcn,
    "co-st-gcn": CoStGcn,
    "aa-gcn": Aagcn,
    "shift-gcn": ShiftGcn,
}
MULTI_STAGE: dict[str, Callable[[MultiStageConfig], GraphNetwork]] = {"ms-gcn": MsGcn, "ms-tcn": MsTcn}

OPTIONAL = ("input_mean", "input_scale")  # absent from published checkpoints, where nothing is scaled


def build(options: NetworkOptions, labels: tuple[str, ...], graph: str | Path | None = None) -> GraphNetwork:
    """The untrained network that a configuration file describes.

    Args:
        graph: graph file, instead of the configuration's.

    Raises:
        InputError: an unknown network, or options that do not fit it.
    """
    given = load_graph(graph) if graph is not None else None
    if options.network in LAYERED:
        return LAYERED[options.network](NetworkConfig.from_options(options, labels, given))
    if options.network in MULTI_STAGE:
        return MULTI_STAGE[options.network](MultiStageConfig.from_options(options, labels, given))
    known = ", ".join((*LAYERED, *MULTI_STAGE))
    raise InputError(f"{options.path}: unknown network {options.network!r}; expected one of {known}")


def load_network(
    config: str | Path,
    checkpoint: str | Path,
    labels: str | Path | None = None,
    graph: str | Path | None = None,
) -> GraphNetwork:
    """The network in eval mode from a configuration file and a checkpoint ``{"model_state_dict": ...}``.

    Args:
        labels: action list, instead of the one that the configuration names. When neither is here the classes are
            numbered, as many as the checkpoint has.
        graph: graph file, instead of the configuration's.

    Raises:
        InputError: a file that cannot be read, or a checkpoint that does not fit the configuration.
    """
    options = read_options(config)
    stored = checkpoints.load(Path(checkpoint))
    names = read_labels(labels) if labels is not None else options.labels
    if names is None:
        names = numbered_labels(_count_classes(stored, checkpoint))
        log.warning(
            "%s: no action list %s here; its %d classes are numbered", config, options.get("actions"), len(names)
        )
    model = build(options, names, graph)
    load_state(model, stored, "model_state_dict", str(checkpoint), optional=OPTIONAL)
    return model.eval()


def _count_classes(checkpoint: dict[str, Any], origin: str | Path) -> int:
    state = checkpoint.get("model_state_dict", checkpoint)
    weight = next(
        (value for name, value in state.items() if name.endswith(("fcn_out.weight", "conv_out.weight"))), None
    )
    if not isinstance(weight, Tensor):
        raise InputError(f"{origin}: no classifier in 'model_state_dict': not a checkpoint of a graph network")
    return int(weight.shape[0])
