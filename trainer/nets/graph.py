"""Graphs of joints, sensors or image regions, and their partitioned, normalised adjacency (Yan et al., ST-GCN, 2018).

A graph file is JSON: ``{"num_node": V, "edge": [[i, j], ...], "center": node}``; edges are undirected.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph

log = logging.getLogger(__name__)

Strategy = Literal["uniform", "distance", "spatial"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

# Added to every degree before it is inverted, so that a node that nobody reaches does not divide by zero; part of the
# published adjacency, hence of every published weight.
DEGREE_OFFSET = 1e-3

_PACKAGED = Path(__file__).parent / "skeletons"
# named by a published configuration, but never published itself
_INSTEAD = {"imu_fogit_ABCD.json": "imu-fog-7.json"}


def load_graph(path: str | Path) -> Graph:
    """A graph file, or the packaged one of that file name when there is no such file (``pku-mmd.json``, ...).

    Said so where more than the bare name of a packaged one was given: the path may have been meant.

    Raises:
        InputError: no such file, not a graph, or a node number out of range.
    """
    file = Path(path)
    packaged = _PACKAGED / _INSTEAD.get(file.name, file.name)
    if not file.is_file() and packaged.is_file():
        if str(path) != packaged.name:
            log.info("graph %s is not here; using the packaged %s", path, packaged.name)
        file = packaged
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(item.name for item in _PACKAGED.glob("*.json")))
        raise InputError(
            f"cannot read graph {path}: {error.strerror}; give a graph file or one of the packaged {known}"
        ) from error
    except ValueError as error:
        raise InputError(f"graph {file} is not JSON: {error}") from error
    return parse_graph(raw, str(file))


def parse_graph(raw: object, origin: str) -> Graph:
    """The graph that parsed JSON describes.

    Raises:
        InputError: a key missing or of the wrong type, or a node number out of range.
    """
    try:
        fields = cast(dict[str, object], raw)
        num_node, center = int(cast(int, fields["num_node"])), int(cast(int, fields["center"]))
        edge = tuple((int(i), int(j)) for i, j in cast(list[list[int]], fields["edge"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{origin}: expected {{"num_node": V, "edge": [[i, j], ...], "center": node}} ({error!r})'
        ) from error
    for node in (center, *(node for pair in edge for node in pair)):
        if not 0 <= node < num_node:
            raise InputError(f"{origin}: node {node} is out of range, expected 0 to {num_node - 1}")
    return Graph(num_node, edge, center)


def region_grid(rows: int, columns: int) -> Graph:
    """Image regions in row-major order, each joined to its right and lower neighbour."""
    edge = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
    edge += [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    return Graph(rows * columns, tuple(edge), (rows // 2) * columns + columns // 2)


def hops_from_center(graph: Graph) -> NDArray[np.float64]:
    """Edges between each node and the centre, (V,); infinite where there is no path."""
    neighbours: list[list[int]] = [[] for _ in range(graph.num_node)]
    for i, j in graph.edge:
        neighbours[i].append(j)
        neighbours[j].append(i)
    hops = np.full(graph.num_node, np.inf)
    hops[graph.center] = 0
    queue = deque([graph.center])
    while queue:
        node = queue.popleft()
        for other in neighbours[node]:
            if np.isinf(hops[other]):
                hops[other] = hops[node] + 1
                queue.append(other)
    return hops


def adjacency(graph: Graph, strategy: Strategy = "spatial") -> NDArray[np.float32]:
    """Partitioned adjacency (P, V, V); ``A[p, v, w]`` is how much node ``w`` takes from node ``v``.

    ``uniform``: one partition, a node and its neighbours. ``distance``: itself; its neighbours. ``spatial``: itself
    and neighbours as far from the centre; neighbours nearer to it; neighbours farther from it. Each partition is then
    normalised as ``D^-1/2 A D^-1/2`` with its own column degrees.
    """
    V = graph.num_node
    itself = np.eye(V, dtype=bool)
    linked = itself.copy()
    for i, j in graph.edge:
        linked[i, j] = linked[j, i] = True
    match strategy:
        case "uniform":
            parts = [linked]
        case "distance":
            parts = [itself, linked & ~itself]
        case "spatial":
            hops = hops_from_center(graph)
            parts = [linked & compare(hops[:, None], hops) for compare in (np.equal, np.less, np.greater)]
    A = np.stack(parts).astype(np.float64)
    scale = (A.sum(1) + DEGREE_OFFSET) ** -0.5  # (P, V)
    normalised: NDArray[np.float32] = (scale[:, :, None] * A * scale[:, None, :]).astype(np.float32)
    return normalised
