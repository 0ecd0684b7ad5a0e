"""Streaming IMFE: the same numbers as clip by clip, at every hop, without computing anything twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime import ClipStream, ImfeStream, InputError, open_motion_stream
from edge_runtime.models.session import DEVICE_MEMORY
from edge_runtime.streams.pairs import PairRing
from tests.edge_runtime.streams.small_models import SmallImfe

CLIP = 6


@pytest.fixture(scope="module")
def network() -> SmallImfe:
    return SmallImfe.make()


@pytest.fixture(scope="module")
def path(network: SmallImfe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network.save(tmp_path_factory.mktemp("imfe") / "imfe.onnx")


@pytest.fixture(scope="module", params=[False, True], ids=["motion", "RGB and motion"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallImfe, Path]:
    """A network without and with an RGB stream."""
    network = SmallImfe.make(appearance=request.param)
    return network, network.save(tmp_path_factory.mktemp("either") / "imfe.onnx")


@pytest.fixture(scope="module")
def frames() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (40, 32, 48, 3), np.uint8)


@pytest.mark.parametrize("hop", [1, 2, 3, 6])
def test_streaming_equals_clip_by_clip(either: tuple[SmallImfe, Path], frames: npt.NDArray[np.uint8], hop: int) -> None:
    """Shows that the first output comes with frame 6, then one every hop, each that of its last six frames."""
    network, path = either
    with ImfeStream(path, hop=hop) as stream:
        outputs = {i: out for i, frame in enumerate(frames) if (out := stream.step(frame)) is not None}
    assert list(outputs) == list(range(CLIP - 1, len(frames), hop))
    for last, out in outputs.items():
        features, regions = network.clip(frames[last - CLIP + 1 : last + 1])
        np.testing.assert_allclose(out.features, features, atol=1e-5)
        np.testing.assert_allclose(out.regions, regions, atol=1e-5)


@pytest.mark.parametrize("hop", [1, 3, 6])
def test_state_on_a_device_gives_the_same(
    either: tuple[SmallImfe, Path], frames: npt.NDArray[np.uint8], hop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that pairs kept as single tensors of a device, which the head joins, are the same FIFO."""
    network, path = either
    monkeypatch.setitem(DEVICE_MEMORY, "cpu", "cpu")
    with ImfeStream(path, hop=hop) as stream:
        assert isinstance(stream._pairs, PairRing)
        for i, frame in enumerate(frames):
            if (out := stream.step(frame)) is not None:
                np.testing.assert_allclose(out.features, network.clip(frames[i - 5 : i + 1])[0], atol=1e-5)


@pytest.mark.parametrize(("hop", "pairs"), [(1, 35), (3, 35), (6, 30)])
def test_nothing_is_computed_twice_and_the_straddling_pair_not_at_all(
    path: Path, frames: npt.NDArray[np.uint8], hop: int, pairs: int
) -> None:
    """Shows one encoder run a frame, one motion run a needed pair, one head run an output."""
    runs: Counter[str] = Counter()

    with ImfeStream(path, hop=hop, observer=lambda stage: runs.update([stage])) as stream:
        outputs = sum(stream.step(frame) is not None for frame in frames[:36])
    assert runs == {"imfe.encoder": 36, "imfe.motion": pairs, "imfe.head": outputs}


@pytest.mark.parametrize(
    ("hop", "looks"), [(1, [5, 6, 7, 8, 9, 10, 11, 12]), (3, [5, 6, 9, 12]), (6, [5, 8])], ids=["1", "3", "6"]
)
def test_the_central_frame_is_looked_at_once_and_ahead(
    frames: npt.NDArray[np.uint8], tmp_path: Path, hop: int, looks: list[int]
) -> None:
    """Shows one run of the RGB stream a result, on a frame that gives none: the first of all, and every one at hop 1,
    are the exception."""
    ran: list[str] = []
    path = SmallImfe.make(appearance=True).save(tmp_path / "imfe.onnx")
    with ImfeStream(path, hop=hop, lanes=2, observer=ran.append) as stream:
        assert not stream.encoders  # frames in hand would not be there to be looked at
        for frame in frames[:13]:
            stream.step(frame)
    # the frame at which each stage ran, from the encodings before it
    found = [ran[:n].count("imfe.encoder") - 1 for n, stage in enumerate(ran) if stage == "imfe.appearance"]
    assert found == looks


def test_hop_changes_while_running(either: tuple[SmallImfe, Path], frames: npt.NDArray[np.uint8]) -> None:
    """Shows that a new hop loses no frame: every output is still that of the six frames before it."""
    network, path = either
    changes = {9: 3, 17: 1, 20: 2, 31: 6}
    last_seen = []
    with ImfeStream(path, hop=6) as stream:
        for i, frame in enumerate(frames):
            stream.hop = changes.get(i, stream.hop)
            out = stream.step(frame)
            if out is not None:
                last_seen.append(i)
                np.testing.assert_allclose(out.features, network.clip(frames[i - 5 : i + 1])[0], atol=1e-5)
    # 11: the pair straddling 5|6 was skipped at hop 6, so the clip is whole again at 11 only
    assert last_seen == [5, 11, 14, 17, 18, 19, 21, 23, 25, 27, 29, 35]


def test_reset_forgets_every_frame(path: Path, frames: npt.NDArray[np.uint8]) -> None:
    """Shows that after a reset a stream gives bit for bit what a new one gives."""
    with ImfeStream(path, hop=2) as used, ImfeStream(path, hop=2) as new:
        for frame in frames[:9]:
            used.step(frame)
        assert used.warm
        used.reset()
        assert not used.warm
        for frame in frames[9:25]:
            left, right = used.step(frame), new.step(frame)
            assert (left is None) == (right is None)
            if left is not None and right is not None:
                np.testing.assert_array_equal(left.features, right.features)


def test_outputs_are_the_callers_own(path: Path, frames: npt.NDArray[np.uint8]) -> None:
    """Shows that later steps do not write to earlier outputs."""
    with ImfeStream(path, hop=1) as stream:
        outputs = [out for frame in frames[:12] if (out := stream.step(frame)) is not None]
    copies = [out.features.copy() for out in outputs]
    assert len({copy.tobytes() for copy in copies}) == len(outputs)


def test_bad_frames_and_hops_are_input_errors(path: Path) -> None:
    with ImfeStream(path) as stream:
        with pytest.raises(InputError, match="frame: expected uint8"):
            stream.step(np.zeros((48, 32, 3), np.uint8))
        with pytest.raises(InputError, match="frame: expected uint8"):
            stream.step(np.zeros((32, 48, 3), np.float32))  # type: ignore[arg-type]
        with pytest.raises(InputError, match="hop: expected one of 6, 3, 2, 1, found 4"):
            stream.hop = 4
    with pytest.raises(InputError, match="hop: expected one of"):
        ImfeStream(path, hop=7)


@pytest.mark.parametrize("hop", [1, 4, 6])
def test_a_clip_model_runs_behind_the_same_interface(
    network: SmallImfe, frames: npt.NDArray[np.uint8], tmp_path: Path, hop: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Shows that a third party's clip model is recognised by its signature, gives its clips' features, and is slow."""
    with open_motion_stream(network.save_clip_model(tmp_path / "clip.onnx"), hop=hop) as stream:
        assert isinstance(stream, ClipStream)
        outputs = {i: out for i, frame in enumerate(frames) if (out := stream.step(frame)) is not None}
        mean, std = stream.metadata.mean, stream.metadata.std
    assert "streams, which is several times faster" in caplog.text
    assert list(outputs) == list(range(CLIP - 1, len(frames), hop))
    for last, out in outputs.items():
        features, _ = network.clip(frames[last - 5 : last + 1], mean, std)
        np.testing.assert_allclose(out.features, features, atol=1e-5)
        assert out.regions.shape == (7, 1)


def test_each_stream_names_the_kind_it_expected(network: SmallImfe, path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a streaming IMFE, found a model of kind 'clip'"):
        ImfeStream(network.save_clip_model(tmp_path / "clip.onnx"))
    with pytest.raises(InputError, match="expected a clip model, found a model of kind 'imfe'"):
        ClipStream(path)
