"""A network stream: RTSP, HTTP or TCP, through OpenCV's FFmpeg, with a limit on how long it may stay silent.

RTSP goes over TCP, OpenCV's default: a lost UDP packet smears grey over the frames until the next key frame. FFmpeg's
low-delay options are left alone, because OpenCV takes them from the environment only, where they also reach video
files: ``nobuffer`` made a file of 264 frames decode as 14.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import cv2

from edge_runtime.errors import InputError
from edge_runtime.redaction import expand_secrets, redact
from edge_runtime.sources.base import SourceInfo
from edge_runtime.sources.diagnosis import diagnose
from edge_runtime.sources.live import LiveSource
from edge_runtime.sources.opencv import OpenCapture

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtmp")

# Opening includes the wait for a key frame, up to some seconds apart.
OPEN_TIMEOUT_S = 10.0
# A stream at 1 FPS still passes; OpenCV's own default, 30 s, is an outage.
READ_TIMEOUT_S = 5.0


class StreamSource(LiveSource):
    """The stream at ``url``, whose ``${NAME}`` parts are filled from the environment (see ``redaction``).

    Raises:
        InputError: not a URL of a known scheme.
        SourceRefusedError: it will never serve us, whatever the reason that `diagnosis` finds.
        SourceLostError: it does not serve us now.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        open_capture: OpenCapture = cv2.VideoCapture,
    ) -> None:
        url = expand_secrets(url)
        name = redact(url)
        check_url(url)
        capture = open_capture(
            url,
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                int(OPEN_TIMEOUT_S * 1000),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                int(READ_TIMEOUT_S * 1000),
            ],
        )
        if not capture.isOpened():
            raise diagnose(url)
        fps = capture.get(cv2.CAP_PROP_FPS)
        width, height = (int(capture.get(item)) for item in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        # 90000 is FFmpeg's clock tick for a stream that states no rate
        info = SourceInfo(name, "image", True, fps if 0 < fps <= 1000 else None, width, height)
        super().__init__(capture, info, clock, stamped="presentation")


def check_url(url: str) -> None:
    """Refuse at once what no amount of retrying mends.

    Raises:
        InputError: an unknown scheme, or no host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"stream {redact(url)}: not a URL: {redact(str(error))}") from None
    if parts.scheme not in SCHEMES:
        raise InputError(f"stream {redact(url)}: expected {'://, '.join(SCHEMES)}://, found {parts.scheme or 'none'!r}")
    if not host:
        raise InputError(f"stream {redact(url)}: no host in it; expected {parts.scheme}://HOST[:PORT]/PATH")
