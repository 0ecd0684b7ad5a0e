"""A GStreamer pipeline that ends in ``appsink``: CSI cameras of a Jetson, hardware decoders, anything GStreamer knows.

    edge-run --gstreamer 'nvarguscamerasrc ! video/x-raw(memory:NVMM),framerate=30/1 ! nvvidconv !
        video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'

``drop=true max-buffers=1`` keeps the newest frame only. OpenCV from the package index is built without GStreamer; that
of JetPack and of Debian (``python3-opencv``) has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.redaction import expand_secrets, redact
from edge_runtime.sources.base import SourceInfo
from edge_runtime.sources.live import LiveSource
from edge_runtime.sources.opencv import OpenCapture


class GstreamerSource(LiveSource):
    """Frames that ``pipeline`` gives its ``appsink``; ``${NAME}`` in it is read as a secret.

    Raises:
        InputError: this OpenCV has no GStreamer, or the pipeline has no ``appsink``.
        SourceLostError: the pipeline does not start.
    """

    def __init__(
        self,
        pipeline: str,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        open_capture: OpenCapture = cv2.VideoCapture,
    ) -> None:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise InputError(
                "gstreamer: this OpenCV is built without it; use the one of JetPack or of the distribution "
                "(apt install python3-opencv, and a virtual environment with --system-site-packages)"
            )
        if "appsink" not in pipeline:
            raise InputError("gstreamer: the pipeline should end in '! appsink drop=true max-buffers=1'")
        name = f"gstreamer {redact(pipeline)}"
        capture = open_capture(expand_secrets(pipeline), cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            raise SourceLostError(f"{name}: it does not start; try it with gst-launch-1.0 and fakesink for appsink")
        fps = capture.get(cv2.CAP_PROP_FPS)
        width, height = (int(capture.get(item)) for item in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        info = SourceInfo(name, "image", True, fps if 0 < fps <= 1000 else None, width, height)
        super().__init__(capture, info, clock)
