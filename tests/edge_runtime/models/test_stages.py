"""A step graph is cut where its metadata say, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime import InputError
from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import ImfeMetadata, Stage
from edge_runtime.models.stages import cut


def test_each_stage_holds_only_its_own_nodes_and_weights(models: dict[str, Path]) -> None:
    file = load_model(models["imfe"])
    assert isinstance(file.metadata, ImfeMetadata)
    stages = {name: cut(file.proto, stage).graph for name, stage in file.metadata.stages.items()}
    weights = {name: {tensor.name for tensor in graph.initializer} for name, graph in stages.items()}
    assert weights == {
        "encoder": {"mean", "std", "encode"},
        "motion": {"compare"},
        "head": {"describe", "region_shape"},
    }
    # every node but the concatenation of pairs, which the runtime's buffer replaces
    assert sum(len(graph.node) for graph in stages.values()) == len(file.proto.graph.node) - 1


def test_an_inner_tensor_gets_its_inferred_shape(models: dict[str, Path]) -> None:
    head = cut(load_model(models["imfe"]).proto, Stage(("pairs",), ("features",)))
    assert [dim.dim_value for dim in head.graph.input[0].type.tensor_type.shape.dim] == [1, 15, 4, 6]


def test_stages_that_cannot_be_cut(models: dict[str, Path]) -> None:
    proto = load_model(models["imfe"]).proto
    with pytest.raises(InputError, match="'absent' is not in the graph"):
        cut(proto, Stage(("absent",), ("features",)))
    with pytest.raises(InputError, match="needs tensor 'previous_fmap' too"):
        cut(proto, Stage(("fmap",), ("pair",)))
