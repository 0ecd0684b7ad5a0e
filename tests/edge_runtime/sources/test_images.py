"""Shows that a folder of pictures plays like a video, whatever the pictures are."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources import opencv
from edge_runtime.sources.base import UnreadableFrameError
from edge_runtime.sources.images import ImagesSource
from tests.recordings import recording


def save(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def test_pictures_come_in_natural_order_at_the_given_rate(tmp_path):
    for number in (10, 2, 1, 100):
        save(tmp_path / f"frame{number}.png", np.full((4, 6, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    with ImagesSource(tmp_path, 10.0) as source:
        frames = [source.read() for _ in range(4)]
        assert source.read() is None
        assert source.info.frames == 4
    assert [f.data[0, 0, 0] for f in frames] == [1, 2, 10, 100]
    assert [f.t for f in frames] == [0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "image",
    [
        noise(1, 1, 3),
        noise(40, 30),
        noise(40, 30, 4),
        noise(40, 30, 3, dtype=np.uint16),
        noise(40, 30, dtype=np.uint16),
        noise(3, 900, 3),
    ],
    ids=["1x1", "grey", "alpha", "16 bit", "16 bit grey", "wide"],
)
def test_every_kind_of_picture_becomes_three_channels_of_a_byte(tmp_path, image):
    save(tmp_path / "a.png", image)
    data = ImagesSource(tmp_path, 30).read().data
    assert data.shape == (*image.shape[:2], 3)
    assert data.dtype == np.uint8
    shown = image if image.ndim == 3 else image[..., None]
    expected = shown[..., :3] >> 8 if image.dtype == np.uint16 else shown[..., :3]
    assert np.abs(data.astype(int) - expected).max() <= 1


def test_8k_is_read(tmp_path):
    save(tmp_path / "8k.jpg", np.zeros((4320, 7680, 3), np.uint8))
    assert ImagesSource(tmp_path, 30).read().data.shape == (4320, 7680, 3)


def damaged(data: bytes, kind: str) -> bytes:
    if kind == "bits":
        return data[: len(data) // 2] + b"\xff\x55" * 40 + data[len(data) // 2 + 80 :]
    return {"empty": b"", "text": b"hello", "cut": data[: len(data) // 2]}[kind]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "bits"])
def test_an_unreadable_picture_is_one_lost_frame_and_keeps_its_place_in_time(tmp_path, capfd, suffix, kind):
    for number in range(3):
        path = save(tmp_path / f"{number}{suffix}", noise(64, 64, 3))
    middle = tmp_path / f"1{suffix}"
    middle.write_bytes(damaged(path.read_bytes(), kind))
    source = ImagesSource(tmp_path, 10)
    assert source.read().t == 0
    with pytest.raises(UnreadableFrameError, match=f"1{suffix}: ") as caught:
        source.read()
    assert "\n" not in str(caught.value)
    last = source.read()
    assert (last.t, last.index) == (0.2, 2)
    assert source.read() is None
    assert capfd.readouterr().err == ""  # nothing of libjpeg's or libpng's own


def test_what_others_write_to_stderr_meanwhile_is_not_swallowed(tmp_path, capfd):
    with opencv._codec_messages() as messages:
        os.write(2, b"Corrupt JPEG data: premature end\nsomething else\n")
    assert messages == ["Corrupt JPEG data: premature end"]
    assert capfd.readouterr().err == "something else\n"


def test_a_picture_that_vanishes_is_unreadable(tmp_path):
    path = save(tmp_path / "a.png", noise(4, 4, 3))
    source = ImagesSource(tmp_path, 30)
    path.unlink()
    with pytest.raises(UnreadableFrameError, match="No such file"):
        source.read()


def test_a_folder_that_is_none_or_holds_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        ImagesSource(tmp_path / "missing", 30)
    with pytest.raises(InputError, match="no picture in it"):
        ImagesSource(tmp_path, 30)
    with pytest.raises(InputError, match="--video"):
        ImagesSource(save(tmp_path / "a.png", noise(4, 4, 3)), 30)


def test_a_real_sequence_is_read():
    with ImagesSource(recording("videos/felixchenfy/apple/*.jpg").parent, 10) as source:
        count = 0
        while source.read() is not None:
            count += 1
    assert count == source.info.frames > 40
