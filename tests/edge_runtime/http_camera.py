"""A network camera for tests: Motion JPEG over HTTP at its own pace, with a switch and a plug.

python -m tests.edge_runtime.http_camera VIDEO [PORT]      a real clip for ever, for looking at the page
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import numpy.typing as npt


class HttpCamera:
    """Serves ``images`` (BGR) round and round at ``fps`` to whoever connects."""

    def __init__(self, images: Sequence[npt.NDArray[np.uint8]], fps: float = 30.0, port: int = 0) -> None:
        self._jpegs = [bytes(cv2.imencode(".jpg", image)[1]) for image in images]
        self._fps = fps
        self.port = port
        self.frozen = threading.Event()  # connected, and silent
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def up(self) -> None:
        camera, self._on = self, threading.Event()
        on = self._on

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number, begun = 0, time.monotonic()
                while not on.is_set():
                    if not camera.frozen.is_set():
                        jpeg = camera._jpegs[number % len(camera._jpegs)]
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    number += 1
                    time.sleep(max(0.0, begun + number / camera._fps - time.monotonic()))

            def log_message(self, *args: object) -> None:
                """The test's output is for the test."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A viewer left."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Unplug: connections end and new ones are refused."""
        self._on.set()
        self._server.shutdown()
        self._server.server_close()


def clip(path: str, limit: int = 300) -> list[npt.NDArray[np.uint8]]:
    """The first ``limit`` frames of a video file."""
    capture, images = cv2.VideoCapture(path), []
    while len(images) < limit:
        whole, image = capture.read()
        if not whole:
            break
        images.append(np.asarray(image, np.uint8))
    return images


if __name__ == "__main__":
    images = clip(sys.argv[1])
    camera = HttpCamera([*images, *images[::-1]], port=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.write(f"{camera.url}\n")
    sys.stdout.flush()
    threading.Event().wait()
