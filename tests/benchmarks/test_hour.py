"""Shows what the hour's benchmark makes of a run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.hour import Found, run, slope
from tests.edge_runtime.streams.small_models import SmallImfe


def test_the_slope_is_of_what_comes_after_the_warm_up() -> None:
    rising = [(frame, 100 + 0.001 * frame) for frame in range(0, 1000, 10)]
    assert slope(rising) == pytest.approx(0.001)
    assert slope([(frame, 20.0 if frame < 100 else 150.0) for frame in range(0, 1000, 10)]) == pytest.approx(0)


def test_a_frame_that_is_nowhere_is_found() -> None:
    frames = {"captured": 10, "processed": 7, "dropped": {"overload": 2, "stopped": 1}}
    assert Found({"frames": frames}, [], 1.0).exact
    assert not Found({"frames": frames | {"processed": 6}}, [], 1.0).exact


@pytest.mark.slow
def test_every_frame_of_a_looped_video_goes_through_edge_run(tmp_path: Path) -> None:
    model = SmallImfe.make().save(tmp_path / "imfe.onnx")
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (48, 32))
    for shade in range(0, 250, 10):
        video.write(np.full((32, 48, 3), shade, np.uint8))
    video.release()
    found = run(model, tmp_path / "v.avi", 150)
    assert found.exact
    assert found.summary["frames"]["captured"] == 150
    assert len(found.sizes) == found.summary["results"]
    assert found.frame_ms > 0
