"""Bone and motion streams (Shi et al., 2019): other views of the same joints, one network each.

A network trained on one of them is fed that stream on the device too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_runtime.models.metadata import Graph
from trainer.nets.graph import hops_from_center

Features = npt.NDArray[Any]  # (C, L, V)
Stream = Literal["joint", "bone", "motion"]


def parents(graph: Graph) -> list[int]:
    """Each node's neighbour on its way to the centre; the centre's, and a lost node's, is itself."""
    hops = hops_from_center(graph)
    towards = list(range(graph.num_node))
    for i, j in graph.edge:
        for node, other in ((i, j), (j, i)):
            if hops[other] < hops[node] < np.inf and hops[other] < hops[towards[node]]:
                towards[node] = other
    return towards


def bones(x: Features, graph: Graph) -> Features:
    """Each node relative to its parent; the centre becomes zero."""
    x = np.asarray(x, dtype=np.float32)
    return x - x[:, :, parents(graph)]


def motion(x: Features) -> Features:
    """What changed since the frame before; zero in the first."""
    return np.diff(np.asarray(x, dtype=np.float32), axis=1, prepend=np.asarray(x[:, :1], dtype=np.float32))


def stream(kind: Stream, graph: Graph) -> Callable[[Features], Features] | None:
    """The change that a stream makes to a trial, or None for the joints themselves."""
    match kind:
        case "bone":
            return lambda x: bones(x, graph)
        case "motion":
            return motion
        case "joint":
            return None
