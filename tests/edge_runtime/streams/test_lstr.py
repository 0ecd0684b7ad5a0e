from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.errors import InputError
from edge_runtime.streams import LstrStream
from tests.edge_runtime.streams.small_models import LAYERS, SmallGcn, SmallLstr


@pytest.fixture(scope="module")
def network() -> SmallLstr:
    return SmallLstr.make()


@pytest.fixture(scope="module")
def path(network: SmallLstr, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network.save(tmp_path_factory.mktemp("lstr") / "lstr.onnx")


def trial(length: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((length, 7, 6)).astype(np.float32)


def test_step_by_step_equals_the_whole_trial(network: SmallLstr, path: Path) -> None:
    """Shows that each step sees exactly the windows that the metadata promise, many rounds of the memory long."""
    x = trial(100)
    with LstrStream(path) as stream:
        found = np.stack([stream.step(frame) for frame in x])
    np.testing.assert_allclose(found, network.offline(x), atol=1e-5)


def test_buffered_mode_equals_steps(path: Path) -> None:
    x = trial(30)
    expected = LstrStream(path).steps(x)
    stream = LstrStream(path)
    parts = [stream.steps(part) for part in np.split(x, [1, 8, 20])]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("used", [1, 4, 17])
def test_reset_is_exact(path: Path, used: int) -> None:
    """Shows that a reset at any moment gives bit for bit the output of a new stream."""
    x = trial(20, seed=1)
    stream = LstrStream(path)
    stream.steps(trial(used, seed=2))
    stream.reset()
    assert not stream.warm
    np.testing.assert_array_equal(stream.steps(x), LstrStream(path).steps(x))


def test_warm_once_the_short_memory_is_full(path: Path) -> None:
    stream, warm = LstrStream(path), []
    for x in trial(6):
        stream.step(x)
        warm.append(stream.warm)
    assert warm == [False, False, True, True, True, True]
    assert (stream.receptive_field, stream.delay) == (8, 0)


def test_state_is_every_memory_held_twice(path: Path) -> None:
    assert LstrStream(path).state_bytes == 4 * 4 * 2 * ((3 - 1 + 5) + 2)


def test_a_missing_region_holds_its_last_value(path: Path) -> None:
    """Shows that a region with a NaN or infinity in any channel stands where it stood, and at zero if never seen."""
    x = trial(20)
    gaps, held = x.copy(), x.copy()
    gaps[0, :, 2] = np.nan
    held[0, :, 2] = 0
    gaps[5:9, 1, 3] = np.inf
    held[5:9, :, 3] = x[4, :, 3]
    np.testing.assert_array_equal(LstrStream(path).steps(gaps), LstrStream(path).steps(held))


def test_wrong_shapes_and_wrong_kinds_are_input_errors(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x: expected shape \(7, 6\) \(C, V\), found \(7, 5\)"):
        LstrStream(path).step(np.zeros((7, 5), np.float32))
    gcn = SmallGcn.make(LAYERS).save(tmp_path / "rtstgcn.onnx")
    with pytest.raises(InputError, match="expected an LSTR, found a model of kind 'rtstgcn'"):
        LstrStream(gcn)
