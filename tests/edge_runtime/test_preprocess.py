"""Shows that preprocessing gives the pixels an antialiased resize gives, for every size, without allocating."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.preprocess import Preprocessor
from tests.recordings import recording


@pytest.mark.parametrize(
    "name", ["sam2/05_default_juggle.mp4", "golfdb/test_video.mp4", "intel_sample/*.mp4", "ibm_max_sports/baseball.mp4"]
)
@pytest.mark.parametrize("size", [(256, 344), (128, 172), (96, 128)])
def test_real_frames_are_within_one_grey_level_of_an_antialiased_resize(name, size):
    torch = pytest.importorskip("torch")
    capture = cv2.VideoCapture(str(recording(f"videos/{name}")))
    preprocess = Preprocessor(*size)
    for _ in range(5):
        whole, image = capture.read()
        assert whole
        tensor = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
        exact = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        assert np.abs(preprocess(image) - exact.numpy()).mean() < 1.0


@pytest.mark.parametrize("shape", [(1, 1), (4320, 7680), (492, 354), (3, 1000), (1000, 3), (96, 128)])
def test_any_size_becomes_the_models_and_keeps_its_colour(shape):
    blue = np.zeros((*shape, 3), np.uint8)
    blue[:] = (255, 20, 0)  # BGR
    rgb = Preprocessor(96, 128)(blue)
    assert rgb.shape == (96, 128, 3)
    assert rgb.dtype == np.uint8
    assert (rgb == (0, 20, 255)).all()


def test_the_result_is_one_buffer_used_again():
    preprocess = Preprocessor(32, 48)
    first = preprocess(np.zeros((100, 100, 3), np.uint8))
    second = preprocess(np.full((50, 60, 3), 9, np.uint8))
    assert first is second
    assert (first == 9).all()


def test_a_view_that_is_not_contiguous_is_taken_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    whole = Preprocessor(20, 20)(image[::-1, 10:70].copy()).copy()
    np.testing.assert_array_equal(Preprocessor(20, 20)(image[::-1, 10:70]), whole)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(InputError, match="expected a uint8 picture"):
        Preprocessor(8, 8)(image)
