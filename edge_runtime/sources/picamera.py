"""A Raspberry Pi's CSI camera, through picamera2: OpenCV does not see these under Bookworm's libcamera.

picamera2 comes from the distribution (``apt install python3-picamera2``), so that a virtual environment needs
``--system-site-packages``.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo

_SIZE = (640, 480)
_FPS = 30.0
# A sensor stamp older than this is of another clock: SensorTimestamp counts from boot, through suspends.
_OLDEST_STAMP_NS = 1_000_000_000


class PicameraSource(Closing):
    """CSI camera ``number``. Frames are stamped by the sensor, when their exposure begins.

    Raises:
        InputError: picamera2 is not installed, or there is no such camera.
    """

    def __init__(
        self,
        number: int = 0,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        name, size, fps = f"picamera {number}", size or _SIZE, fps or _FPS
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            raise InputError(
                f"{name}: picamera2 cannot be imported ({error}); apt install python3-picamera2, "
                "and make the virtual environment with --system-site-packages"
            ) from None
        found = picamera2.Picamera2.global_camera_info()
        if number >= len(found):
            models = ", ".join(str(item.get("Model")) for item in found) or "none"
            raise InputError(f"{name}: no such camera; cameras here: {models}")
        self._camera = picamera2.Picamera2(number)
        # libcamera calls RGB888 what lies in memory as B, G, R
        configuration = self._camera.create_video_configuration(
            main={"size": size, "format": "RGB888"}, controls={"FrameRate": fps}, buffer_count=2
        )
        self._camera.configure(configuration)
        self._camera.start()
        width, height = self._camera.camera_configuration()["main"]["size"]
        self._info = SourceInfo(name, "image", True, fps, width, height)
        self._clock = clock
        self._index = 0
        self._first_ns: int | None = None

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        request = self._camera.capture_request()
        try:
            captured_ns = self._stamp(request.get_metadata())
            image = request.make_array("main")  # a copy: the buffer goes back to the camera
        finally:
            request.release()
        if self._first_ns is None:
            self._first_ns = captured_ns
        index, self._index = self._index, self._index + 1
        return Frame(image, index, (captured_ns - self._first_ns) / 1e9, captured_ns)

    def close(self) -> None:
        self._camera.stop()
        self._camera.close()

    def _stamp(self, metadata: dict[str, Any]) -> int:
        now = self._clock()
        stamp = int(metadata.get("SensorTimestamp", 0))
        return stamp if 0 <= now - stamp < _OLDEST_STAMP_NS else now
