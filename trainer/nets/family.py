"""Which network a configuration file means, and that network, with or without a checkpoint's weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from edge_runtime.errors import InputError
from trainer.engine import checkpoint as checkpoints
from trainer.nets.config import NetworkOptions, numbered_labels, read_labels, read_options
from trainer.nets.graph import load_graph
from trainer.nets.network import FrameNetwork
from trainer.nets.network_config import NetworkConfig
from trainer.nets.rtstgcn import RtStgcn
from trainer.nets.state_dict import load_state

log = logging.getLogger(__name__)

NETWORKS: dict[str, type[FrameNetwork]] = {"rt-st-gcn": RtStgcn}

OPTIONAL = ("input_mean", "input_scale")  # absent from published checkpoints, where nothing is scaled


def build(options: NetworkOptions, labels: tuple[str, ...], graph: str | Path | None = None) -> FrameNetwork:
    """The untrained network that a configuration file describes.

    Args:
        graph: graph file, instead of the configuration's.

    Raises:
        InputError: an unknown network, or options that do not fit it.
    """
    network = NETWORKS.get(options.network)
    if network is None:
        raise InputError(f"{options.path}: unknown network {options.network!r}; expected one of {', '.join(NETWORKS)}")
    return network(NetworkConfig.from_options(options, labels, load_graph(graph) if graph is not None else None))


def load_network(
    config: str | Path,
    checkpoint: str | Path,
    labels: str | Path | None = None,
    graph: str | Path | None = None,
) -> FrameNetwork:
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
    weight = next((value for name, value in state.items() if name.endswith("fcn_out.weight")), None)
    if not isinstance(weight, Tensor):
        raise InputError(f"{origin}: no 'fcn_out.weight' in 'model_state_dict': not a checkpoint of this network")
    return int(weight.shape[0])
