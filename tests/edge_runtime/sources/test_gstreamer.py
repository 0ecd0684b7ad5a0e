"""Shows what is refused of GStreamer; a pipeline that runs needs an OpenCV that has it."""

from __future__ import annotations

import cv2
import pytest

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.sources.gstreamer import GstreamerSource

HAS_IT = cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)


@pytest.mark.skipif(HAS_IT, reason="this OpenCV has GStreamer")
def test_an_opencv_without_gstreamer_is_named():
    with pytest.raises(InputError, match="built without it"):
        GstreamerSource("videotestsrc ! appsink")


def test_a_pipeline_that_gives_us_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    with pytest.raises(InputError, match="should end in '! appsink"):
        GstreamerSource("videotestsrc ! fakesink")


def test_secrets_in_a_pipeline_are_filled_in_and_masked(monkeypatch):
    opened = []

    class Refused:
        def isOpened(self):  # noqa: N802 - OpenCV's name
            return False

    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    monkeypatch.setenv("CAM", "s3cr3tword")
    with pytest.raises(SourceLostError) as caught:
        GstreamerSource(
            "rtspsrc location=rtsp://me:${CAM}@camera/ ! appsink",
            open_capture=lambda *a: opened.append(a) or Refused(),
        )
    assert "me:s3cr3tword@" in opened[0][0]
    assert "s3cr3tword" not in str(caught.value)


@pytest.mark.skipif(not HAS_IT, reason="this OpenCV is built without GStreamer")
def test_a_real_pipeline_delivers():
    with GstreamerSource("videotestsrc num-buffers=3 ! videoconvert ! video/x-raw,format=BGR ! appsink") as source:
        assert source.read().data.ndim == 3
