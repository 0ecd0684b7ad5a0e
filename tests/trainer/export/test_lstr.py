from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edge_runtime.models.file import load_model
from edge_runtime.models.metadata import LstrMetadata
from edge_runtime.streams import LstrStream
from tests.trainer.nets.test_lstr import network, trials
from trainer.export import ParityError, export_lstr, lstr


@pytest.mark.parametrize("layers", [1, 2])
def test_the_device_computes_what_torch_computes(tmp_path: Path, layers: int) -> None:
    """Shows streaming parity over many windows, on drifting input that the gate does not use."""
    net = network(layers=layers)
    export_lstr(net, tmp_path / "lstr.onnx")
    x = trials(80, N=1).cumsum(2) / 5
    with torch.inference_mode():
        expected = net(x)[0].T
    found = LstrStream(tmp_path / "lstr.onnx").steps(x[0].transpose(0, 1).numpy())
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-5)


def test_the_file_says_what_the_network_is(tmp_path: Path) -> None:
    net = network()
    export_lstr(net, tmp_path / "lstr.onnx", name="mine")
    meta = load_model(tmp_path / "lstr.onnx").metadata
    assert isinstance(meta, LstrMetadata)
    assert (meta.labels, meta.fps, meta.short, meta.long, meta.name) == (("a", "b"), 3.0, 3, 4, "mine")
    assert (meta.input_shape, meta.receptive_field, meta.memories) == ((5, 3), 7, net.config.memories)


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the gate works: a graph of other weights is refused, and nothing is left in the folder."""
    torch.manual_seed(1)
    other = network()
    for value in other.parameters():
        value.data.mul_(1.1)
    wrong = lstr.build_graph(other)
    monkeypatch.setattr(lstr, "build_graph", lambda model: wrong)
    with pytest.raises(ParityError, match="nothing was written"):
        export_lstr(network(), tmp_path / "lstr.onnx")
    assert list(tmp_path.iterdir()) == []
