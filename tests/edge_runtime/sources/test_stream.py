"""Shows that network streams are refused, timed out and named without their secrets."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.redaction import redact
from edge_runtime.sources import diagnosis, stream
from edge_runtime.sources.stream import StreamSource
from tests.edge_runtime.http_camera import HttpCamera


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("camera.local/stream", "expected rtsp://"),
        ("ftp://camera.local/a", "found 'ftp'"),
        ("rtsp:///live", "no host"),
        ("rtsp://camera.local:port/live", "not a URL"),
        ("rtsp://[::1/live", "not a URL"),
    ],
)
def test_what_no_retry_mends_is_refused_at_once(url, message):
    with pytest.raises(InputError, match=message):
        StreamSource(url)


@pytest.mark.parametrize("password", ["hunter2", "p@ss:w/rd", "100%25"])
def test_no_message_holds_the_password(password):
    for url in (f"rtsp://me:{password}@[::1/live", f"ftp://me:{password}@camera/live"):
        with pytest.raises(InputError) as caught:
            StreamSource(url)
        assert password not in str(caught.value)


def test_the_password_may_come_from_the_environment_and_is_masked_in_the_name(monkeypatch):
    opened = []

    class Refused:
        def isOpened(self):  # noqa: N802 - OpenCV's name
            return False

    monkeypatch.setattr(stream, "diagnose", lambda url: SourceLostError(redact(url)))
    monkeypatch.setenv("CAM_PASSWORD", "s3cr3t/@word")
    with pytest.raises(SourceLostError) as caught:
        StreamSource("rtsp://me:${CAM_PASSWORD}@camera/live", open_capture=lambda *a: opened.append(a) or Refused())
    assert opened[0][0] == "rtsp://me:s3cr3t%2F%40word@camera/live"
    assert "s3cr3t" not in str(caught.value)
    assert "camera/live" in str(caught.value)


@contextmanager
def listener():
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []
        thread = threading.Thread(target=lambda: kept.append(server.accept()), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        for connection, _ in kept:
            connection.close()


def test_a_server_that_says_nothing_is_given_up_after_the_time_out(monkeypatch, capfd):
    monkeypatch.setattr(stream, "OPEN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(diagnosis, "TIMEOUT_S", 0.3)
    with listener() as port, pytest.raises(SourceLostError, match="no answer from"):
        StreamSource(f"http://127.0.0.1:{port}/live")
    assert capfd.readouterr().err == ""


def test_a_closed_port_is_a_lost_source(capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceLostError, match="connection refused; check the port"):
        StreamSource(f"rtsp://127.0.0.1:{port}/live")
    assert capfd.readouterr().err == ""


def test_motion_jpeg_has_no_time_but_its_arrival():
    """Shows a camera at 10 FPS, for which OpenCV would count 25 a second: its frames lie where they arrived."""
    camera = HttpCamera([np.full((48, 64, 3), 10 * n, np.uint8) for n in range(20)], fps=10)
    try:
        with StreamSource(camera.url) as source:
            frames = [source.read() for _ in range(20)]
    finally:
        camera.down()
    first = frames[0].captured_ns
    assert [frame.t for frame in frames] == [(frame.captured_ns - first) / 1e9 for frame in frames]
