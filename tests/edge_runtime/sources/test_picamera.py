"""Shows, on a stand-in for picamera2, how a CSI camera is opened, stamped and closed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.picamera import PicameraSource


class Picamera2:
    """As much of picamera2.Picamera2 as is used; one camera, frames stamped 20 ms before they are handed over."""

    def __init__(self, number):
        self.number, self.log, self.count = number, [], 0

    @staticmethod
    def global_camera_info():
        return [{"Model": "imx708", "Num": 0}]

    def create_video_configuration(self, **options):
        self.log.append(options)
        return options

    def configure(self, configuration):
        self.configuration = configuration

    def camera_configuration(self):
        return self.configuration

    def start(self):
        self.log.append("start")

    def stop(self):
        self.log.append("stop")

    def close(self):
        self.log.append("close")

    def capture_request(self):
        self.count += 1
        self.released = False
        return self

    def get_metadata(self):
        return {"SensorTimestamp": 10_000_000_000 + self.count * 33_000_000}

    def make_array(self, name):
        assert name == "main"
        width, height = self.configuration["main"]["size"]
        return np.zeros((height, width, 3), np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def module(monkeypatch):
    module = types.ModuleType("picamera2")
    module.Picamera2 = Picamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)


def test_frames_carry_the_sensors_own_stamp_and_requests_go_back(module):
    with PicameraSource(0, size=(320, 240), fps=25, clock=lambda: 10_100_000_000) as source:
        camera = source._camera
        frames = [source.read() for _ in range(2)]
        assert camera.released
    assert [f.captured_ns for f in frames] == [10_033_000_000, 10_066_000_000]
    assert frames[1].t == pytest.approx(0.033)
    assert frames[0].data.shape == (240, 320, 3)
    assert (source.info.fps, source.info.width, source.info.height) == (25, 320, 240)
    assert camera.log[0]["controls"] == {"FrameRate": 25}
    assert camera.log[1:] == ["start", "stop", "close"]


def test_a_stamp_of_another_clock_gives_way_to_now(module):
    assert PicameraSource(clock=lambda: 5 * 10**12).read().captured_ns == 5 * 10**12


def test_a_camera_that_is_not_there_is_refused_with_those_that_are(module):
    with pytest.raises(InputError, match="cameras here: imx708"):
        PicameraSource(1)


def test_without_picamera2_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(InputError, match="apt install python3-picamera2"):
        PicameraSource()
