"""Shows, on a real RTSP server, that a stream comes back from every way of losing it, with nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault
from edge_runtime.sources import stream
from edge_runtime.sources.base import Frame, SourceRefusedError
from edge_runtime.sources.stream import StreamSource
from edge_runtime.sources.supervised import SupervisedSource
from edge_runtime.sources.supervision import Patience

PYTHON = "/usr/bin/python3"
PATIENCE = Patience(silent_s=1.5, first_wait_s=0.1, longest_wait_s=0.5)


def _has_gstreamer() -> bool:
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    return Path(PYTHON).exists() and not subprocess.run([PYTHON, "-c", check], capture_output=True).returncode


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _has_gstreamer(), reason="needs gir1.2-gst-rtsp-server-1.0 and python3-gi"),
]


class Camera:
    """The server, on one port for the whole test."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = None

    def start(self, size="320x240", codec="h264", credentials=""):
        script = Path(__file__).with_name("rtsp_server.py")
        command = [PYTHON, str(script), str(self.port), size, codec, *([credentials] if credentials else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def url(self, credentials=""):
        return f"rtsp://{credentials and credentials + '@'}127.0.0.1:{self.port}/live"


@pytest.fixture
def camera():
    camera = Camera().start()
    yield camera
    camera.kill()


def read(source, frames):
    got, faults = [], []
    while len(got) < frames:
        item = source.read()
        (faults if isinstance(item, Fault) else got).append(item)
    return got, faults


def read_until(source, condition):
    """Items up to the first that meets ``condition``."""
    items = []
    while not items or not condition(items[-1]):
        items.append(source.read())
    return items


def open_files():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counts what is open


def test_a_server_killed_and_restarted_fifty_times_is_found_again_each_time(camera):
    with SupervisedSource(lambda: StreamSource(camera.url()), PATIENCE) as source:
        read(source, 10)
        files, threads = open_files(), threading.active_count()
        outages, last = [], None
        for round_ in range(1, 51):
            camera.kill()
            camera.start()
            items = read_until(source, lambda item, n=round_: isinstance(item, Frame) and item.epoch == n)
            kinds = [item.kind for item in items if isinstance(item, Fault)]
            assert kinds == ["source-lost", "source-returned"]
            outages += [
                item.detail["outage_s"] for item in items if isinstance(item, Fault) and "outage_s" in item.detail
            ]
            frames, _ = read(source, 5)
            assert last is None or (frames[0].index > last.index and frames[0].t > last.t)
            last = frames[-1]
        assert open_files() <= files + 2
        assert threading.active_count() <= threads + 1
        print(f"outages: median {sorted(outages)[25]:.1f} s, longest {max(outages):.1f} s")  # noqa: T201 - the figure


def test_a_server_that_pauses_mid_stream_is_left_and_found_again(camera, monkeypatch):
    monkeypatch.setattr(stream, "OPEN_TIMEOUT_S", 3.0)
    with SupervisedSource(lambda: StreamSource(camera.url()), PATIENCE) as source:
        read(source, 10)
        camera.process.send_signal(signal.SIGSTOP)
        lost = read_until(source, lambda item: isinstance(item, Fault))[-1]
        assert lost.kind == "source-lost"
        assert lost.detail["reason"] == "silent"
        threading.Timer(2.0, camera.process.send_signal, [signal.SIGCONT]).start()
        items = read_until(source, lambda item: isinstance(item, Frame) and item.epoch == 1)
        assert [item.kind for item in items if isinstance(item, Fault)] == ["source-returned"]
        deadline = time.monotonic() + stream.READ_TIMEOUT_S + 10
        while source._left_behind and source._left_behind[0].alive and time.monotonic() < deadline:
            read(source, 5)
        assert not any(reader.alive for reader in source._left_behind)  # its read timed out; it closed and ended


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_frames_held_back_and_delivered_at_once_keep_their_times(camera, codec):
    """Shows a second in which nobody took frames, by both of RTP's payloads: late in arrival, even in source time."""
    camera.kill()
    camera.start(codec=codec)
    with SupervisedSource(lambda: StreamSource(camera.url())) as source:
        before, _ = read(source, 30)
        time.sleep(1)
        after, _ = read(source, 30)
    steps = [later.t - sooner.t for sooner, later in pairwise(before[5:] + after)]
    assert steps == pytest.approx([1 / 30] * len(steps), rel=0.02)
    arrivals = [(later.captured_ns - sooner.captured_ns) / 1e9 for sooner, later in pairwise(after)]
    assert min(arrivals) < 0.01
    assert after[-1].captured_ns > before[-1].captured_ns


@pytest.mark.parametrize(("size", "codec"), [("640x480", "h264"), ("320x240", "jpeg"), ("160x120", "jpeg")])
def test_another_size_and_codec_after_a_restart_are_taken(camera, size, codec):
    with SupervisedSource(lambda: StreamSource(camera.url()), PATIENCE) as source:
        read(source, 10)
        camera.kill()
        camera.start(size, codec)
        items = read_until(source, lambda item: isinstance(item, Frame) and item.epoch > 0)
        width, height = map(int, size.split("x"))
        assert items[-1].data.shape == (height, width, 3)
        _, faults = read(source, 5)
        changed = [item.detail for item in items + faults if isinstance(item, Fault) and item.kind == "size-change"]
        assert changed == ([] if size == "320x240" else [{"before": [320, 240], "after": [width, height]}])


def test_credentials_are_taken_refused_and_never_named(camera):
    camera.kill()
    camera.start(credentials="me:s3cr3tword")
    with StreamSource(camera.url("me:s3cr3tword")) as source:
        assert source.read() is not None
        assert "s3cr3tword" not in source.info.name
    for credentials in ("me:wr0ngword", ""):
        with pytest.raises(SourceRefusedError, match="credentials") as caught:
            StreamSource(camera.url(credentials))
        assert isinstance(caught.value, InputError)  # exit 2
        assert "wr0ngword" not in str(caught.value)


def test_a_path_that_does_not_exist_is_said_so(camera):
    with pytest.raises(Exception, match="no stream at this path"):
        StreamSource(camera.url() + "/other")
