"""Only a whole, honest, self-contained model of ours is opened; anything else is one line that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_runtime import InputError, RtStgcnStream, open_motion_stream
from edge_runtime.models.file import load_model
from edge_runtime.streams import LstrStream

Models = dict[str, Path]
HEADS: dict[str, Callable[[Path], object]] = {"rtstgcn": RtStgcnStream, "lstr": LstrStream}


def change(source: Path, target: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of a model with one thing changed."""
    model = onnx.load(source)
    edit(model)
    target.write_bytes(model.SerializeToString())
    return target


def set_property(model: onnx.ModelProto, key: str, value: str) -> None:
    next(prop for prop in model.metadata_props if prop.key == key).value = value


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["imfe", "clip", "rtstgcn", "lstr"])
def test_each_kind_is_recognised(models: Models, kind: str) -> None:
    file = load_model(models[kind])
    assert file.metadata.kind == kind
    assert file.sha256 == hashlib.sha256(models[kind].read_bytes()).hexdigest()


def test_the_file_is_what_was_registered(models: Models) -> None:
    digest = hashlib.sha256(models["imfe"].read_bytes()).hexdigest()
    load_model(models["imfe"], sha256=digest)
    with pytest.raises(InputError, match=f"sha256 expected {'0' * 64}, found {digest}"):
        load_model(models["imfe"], sha256="0" * 64)


def test_paths_that_are_no_model(models: Models, tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.onnx", tmp_path / "text.onnx"
    empty.touch()
    text.write_text("this is not a model" * 100)
    assert "cannot read the model" in refusal(tmp_path / "absent.onnx")
    assert "a folder" in refusal(tmp_path)
    assert "is empty" in refusal(empty)
    assert "not an ONNX model" in refusal(text)
    assert "not a usable path" in refusal(Path("nul\0.onnx"))


def test_a_link_may_not_leave_its_folder(models: Models, tmp_path: Path) -> None:
    outward, inward = tmp_path / "outward.onnx", tmp_path / "inward.onnx"
    outward.symlink_to(models["imfe"])
    assert "link out of its folder" in refusal(outward)
    (tmp_path / "real.onnx").write_bytes(models["imfe"].read_bytes())
    inward.symlink_to("real.onnx")
    assert load_model(inward).metadata.kind == "imfe"
    loop = tmp_path / "loop.onnx"
    loop.symlink_to(loop)
    assert "loop.onnx" in refusal(loop)


def test_what_reaches_beyond_the_file_is_refused(models: Models, tmp_path: Path) -> None:
    """Shows that external data, foreign operators and functions are refused, nested graphs included."""

    def external(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    def external_in_branch(model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
        tensor.external_data.add(key="location", value="../weights")
        constant = helper.make_node("Constant", [], ["c"], value=tensor)
        branch = helper.make_graph([constant], "branch", [], [])
        model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))

    def foreign(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "evil.custom"

    def function(model: onnx.ModelProto) -> None:
        model.functions.add(name="Mine", domain="local")

    target = tmp_path / "m.onnx"
    assert "keeps its data in another file" in refusal(change(models["rtstgcn"], target, external))
    assert "tensor 'hidden' keeps its data" in refusal(change(models["rtstgcn"], target, external_in_branch))
    assert "domain 'evil.custom'" in refusal(change(models["rtstgcn"], target, foreign))
    assert "own operator 'Mine'" in refusal(change(models["rtstgcn"], target, function))


def test_wrong_opset_and_absurd_shapes(models: Models, tmp_path: Path) -> None:
    def old(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 7

    def undeclared(model: onnx.ModelProto) -> None:
        del model.opset_import[:]

    def huge(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = [2**20, 2**20]

    target = tmp_path / "m.onnx"
    assert "ONNX opset: expected 13 to" in refusal(change(models["imfe"], target, old))
    assert "found 0 declarations" in refusal(change(models["imfe"], target, undeclared))
    assert "absurd shape" in refusal(change(models["imfe"], target, huge))


@pytest.mark.parametrize(
    ("kind", "key", "value", "expected"),
    [
        ("imfe", "kind", '"dog"', "unknown model kind 'dog'"),
        ("imfe", "schema", "2", "model schema 2, expected 1"),
        ("imfe", "height", '"tall"', "height: expected int"),
        ("imfe", "height", "99999999", "out of range"),
        ("imfe", "height", "40", "graph input 'frame': expected shape"),
        ("imfe", "hops", "[0]", "hops (0,): out of range"),
        ("imfe", "hops", "[]", "hops (): out of range"),
        ("imfe", "fps", "0", "fps 0.0: out of range"),
        ("imfe", "clip_length", "1", "clip_length 1: out of range"),
        ("imfe", "region_grid", "[0, 3]", "region_grid (0, 3)"),
        ("imfe", "feature_dim", "-1", "feature_dim -1: out of range"),
        ("imfe", "stages", "{}", "stages [], expected"),
        ("imfe", "mean", "[1, 2]", "expected 3 values, found 2"),
        ("lstr", "labels", "[]", "labels: there is none"),
        ("lstr", "num_node", "5", "graph input 'x': expected shape (1, 7, 5)"),
        ("lstr", "memories", "[]", "0 memories"),
        ("lstr", "memories", '[{"name": "old", "width": 4, "length": 0}]', "memory LstrMemory"),
        (
            "lstr",
            "memories",
            '[{"name": "old", "width": 4, "length": 5}]',
            "graph input 'young' is not in the contract",
        ),
        ("lstr", "memories", '[{"name": "old", "width": 400000000, "length": 5}]', "a state of"),
        ("rtstgcn", "labels", "[]", "labels: there is none"),
        ("rtstgcn", "labels", '["a", "b"]', "graph output 'logits': expected shape (?, 2)"),
        ("rtstgcn", "background", '"z"', "background 'z' is no label"),
        ("rtstgcn", "in_channels", "-1", "in_channels -1: out of range"),
        ("rtstgcn", "layers", "[]", "0 layers"),
        ("rtstgcn", "layers", '[{"in_channels": 3, "out_channels": -1, "taps": 3, "dilation": 1}]', "layers[0]: "),
        ("rtstgcn", "graph", '{"num_node": 5, "edge": [[0, 9]], "center": 0}', "a node beyond num_node"),
        ("rtstgcn", "graph", '{"num_node": 6, "edge": [], "center": 0}', "graph input 'x': expected shape"),
    ],
)
def test_metadata_that_contradict_reason_or_the_graph(
    models: Models, tmp_path: Path, kind: str, key: str, value: str, expected: str
) -> None:
    assert expected in refusal(change(models[kind], tmp_path / "m.onnx", lambda model: set_property(model, key, value)))


def test_a_state_too_large_for_any_device(models: Models, tmp_path: Path) -> None:
    def edit(model: onnx.ModelProto) -> None:
        layer = {"in_channels": 3, "out_channels": 6, "taps": 10**9, "dilation": 1}
        set_property(model, "layers", json.dumps([layer]))

    assert "a state of" in refusal(change(models["rtstgcn"], tmp_path / "m.onnx", edit))


def test_a_graph_without_what_the_contract_names(models: Models, tmp_path: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "probabilities"

    def add(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("spy", onnx.TensorProto.FLOAT, [1]))

    def no_metadata(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    target = tmp_path / "m.onnx"
    assert "graph output 'logits' is missing" in refusal(change(models["rtstgcn"], target, rename))
    assert "graph input 'spy' is not in the contract" in refusal(change(models["rtstgcn"], target, add))
    assert "not a model of this project" in refusal(change(models["rtstgcn"], target, no_metadata))


@pytest.mark.parametrize("kind", ["imfe", "clip", "rtstgcn", "lstr"])
def test_damage_anywhere_is_an_input_error(models: Models, tmp_path: Path, kind: str) -> None:
    """Shows that truncated and mutated files either still run or are refused in one line: never anything else."""
    whole = models[kind].read_bytes()
    random = np.random.default_rng(0)
    damaged = [whole[: int(len(whole) * part)] for part in np.linspace(0.01, 0.99, 25)]
    for _ in range(150):
        data = np.frombuffer(whole, np.uint8).copy()
        where = random.integers(0, len(data), random.integers(1, 8))
        data[where] = random.integers(0, 256, len(where))
        damaged.append(data.tobytes())
    refused = 0
    for data in damaged:
        path = tmp_path / "damaged.onnx"
        path.write_bytes(data)
        try:
            HEADS.get(kind, open_motion_stream)(path)
        except InputError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert refused >= 25
