from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph
from tests.trainer.published import compat
from trainer.nets.graph import adjacency, hops_from_center, load_graph, region_grid

CHAIN = Graph(4, ((0, 1), (1, 2), (2, 3)), center=1)


def test_the_published_adjacency_is_reproduced() -> None:
    """Shows that partitions, their order and their normalisation are the published ones."""
    graph = load_graph(compat("skeleton_pku-mmd.json"))
    np.testing.assert_allclose(adjacency(graph, "spatial"), np.load(compat("rt_open.npz"))["A"], atol=1e-6)


def test_hops_count_edges_to_the_centre() -> None:
    assert hops_from_center(CHAIN).tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(("strategy", "partitions"), [("uniform", 1), ("distance", 2), ("spatial", 3)])
def test_every_strategy_splits_the_same_links(strategy: str, partitions: int) -> None:
    """Shows that a partition decides only where a link goes: none is lost, none counted twice."""
    A = adjacency(CHAIN, strategy)  # type: ignore[arg-type]
    links = np.eye(4, dtype=bool)
    for i, j in CHAIN.edge:
        links[i, j] = links[j, i] = True
    assert A.shape == (partitions, 4, 4)
    np.testing.assert_array_equal((A > 0).sum(0), links)


def test_spatial_partitions_tell_nearer_from_farther() -> None:
    """Shows the orientation: ``A[1, v, w]`` links ``w`` to neighbours nearer to the centre than itself."""
    A = adjacency(CHAIN, "spatial")
    assert A[1, 2, 3] > 0 and A[1, 3, 2] == 0
    assert A[2, 3, 2] > 0 and A[2, 2, 3] == 0


def test_self_links_of_a_file_change_nothing() -> None:
    explicit = Graph(4, (*CHAIN.edge, (0, 0), (3, 3)), center=1)
    np.testing.assert_array_equal(adjacency(explicit, "spatial"), adjacency(CHAIN, "spatial"))


def test_a_single_node_is_a_legal_graph() -> None:
    """Shows that the pooled feature as one node works: V = 1."""
    assert np.isfinite(adjacency(Graph(1, (), 0), "spatial")).all()


def test_a_region_grid_joins_neighbouring_regions() -> None:
    grid = region_grid(3, 4)
    assert (grid.num_node, len(grid.edge)) == (12, 3 * 3 + 2 * 4)
    assert all(abs(i // 4 - j // 4) + abs(i % 4 - j % 4) == 1 for i, j in grid.edge)


def test_a_packaged_graph_is_found_by_its_file_name(caplog: pytest.LogCaptureFixture) -> None:
    """Shows that published configurations work where their relative paths lead nowhere, and that it is said."""
    caplog.set_level("INFO")
    assert load_graph("pku-mmd.json").num_node == 25
    assert not caplog.messages
    assert load_graph("data/skeletons/pku-mmd.json").num_node == 25
    assert caplog.messages == ["graph data/skeletons/pku-mmd.json is not here; using the packaged pku-mmd.json"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ('{"num_node": 3, "edge": [[0, 1]]}', "center"),
        ('{"num_node": 3, "edge": [[0, 3]], "center": 0}', "node 3 is out of range"),
        ("[1]", "expected"),
    ],
)
def test_a_bad_graph_file_is_one_clear_error(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "graph.json"
    file.write_text(content)
    with pytest.raises(InputError, match=complaint):
        load_graph(file)


def test_a_missing_graph_file_names_the_packaged_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pku-mmd\.json"):
        load_graph(tmp_path / "none.json")


def test_graph_files_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    file.write_text(json.dumps({"num_node": 4, "edge": CHAIN.edge, "center": 1}))
    assert load_graph(file) == CHAIN
