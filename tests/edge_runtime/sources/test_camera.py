"""Shows, on a fake driver, how a camera is opened, stamped and lost; there is no camera where tests run."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.sources.base import UnreadableFrameError
from edge_runtime.sources.camera import CameraSource, list_cameras
from edge_runtime.sources.live import LiveSource


class Driver:
    """What cv2.VideoCapture is to a camera source; grants 640x480 at 30 whatever is asked."""

    def __init__(self, *args, opened=True, stamps_ms=(), frames=3, broken=()):
        self.args, self.opened, self.frames, self.broken = args, opened, frames, broken
        self.stamps_ms, self.requests, self.released, self.count = list(stamps_ms), {}, False, 0

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.opened

    def set(self, item, value):
        self.requests[item] = value

    def get(self, item):
        if item == cv2.CAP_PROP_POS_MSEC:
            return self.stamps_ms[self.count - 1] if self.stamps_ms else 0.0
        return {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480, cv2.CAP_PROP_FPS: 30}[item]

    def grab(self):
        self.count += 1
        return self.count <= self.frames

    def retrieve(self):
        return self.count not in self.broken, np.zeros((480, 640, 3), np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def device():
    """A path that passes for a camera's: a character device that may be opened."""
    return "/dev/null"


def test_what_was_asked_and_what_was_granted_is_said(device, caplog):
    drivers = []
    with caplog.at_level(logging.INFO):
        source = CameraSource(
            device, size=(1280, 720), fps=60, open_capture=lambda *a: drivers.append(Driver(*a)) or drivers[0]
        )
    assert (source.info.width, source.info.height, source.info.fps, source.info.live) == (640, 480, 30, True)
    assert drivers[0].args == (device, cv2.CAP_V4L2)
    assert drivers[0].requests[cv2.CAP_PROP_BUFFERSIZE] == 1
    text = caplog.text
    assert "asked for 1280x720, granted 640x480" in text
    assert "asked for 60 FPS, granted 30" in text


def test_frames_are_stamped_by_the_driver_when_its_clock_is_ours(device):
    now = iter([10_000_000_000, 10_040_000_000, 10_080_000_000])
    driver = Driver(stamps_ms=[9_990, 10_023, 10_056])
    source = CameraSource(device, clock=lambda: next(now), open_capture=lambda *_: driver)
    frames = [source.read() for _ in range(3)]
    assert [f.captured_ns for f in frames] == [9_990_000_000, 10_023_000_000, 10_056_000_000]
    np.testing.assert_allclose([f.t for f in frames], [0, 0.033, 0.066])


@pytest.mark.parametrize("stamp_ms", [0, 1_700_000_000_000, -5])
def test_stamps_of_another_clock_give_way_to_the_moment_of_arrival(device, stamp_ms):
    driver = Driver(stamps_ms=[stamp_ms] * 3)
    source = CameraSource(device, clock=lambda: 50_000_000_000, open_capture=lambda *_: driver)
    assert source.read().captured_ns == 50_000_000_000


def test_a_camera_that_stops_is_lost_and_a_frame_it_spoils_is_one_lost_frame(device):
    driver = Driver(broken=(2,))
    with CameraSource(device, open_capture=lambda *_: driver) as source:
        assert source.read().index == 0
        with pytest.raises(UnreadableFrameError, match="frame 1"):
            source.read()
        assert source.read().index == 2
        with pytest.raises(SourceLostError, match="stopped delivering"):
            source.read()
    assert driver.released


def test_time_never_falls_even_if_the_drivers_stamps_do(device):
    driver = Driver(stamps_ms=[9_990, 9_980, 9_995])
    source = CameraSource(device, clock=lambda: 10_000_000_000, open_capture=lambda *_: driver)
    times = [source.read().t for _ in range(3)]
    assert times == sorted(times)


def test_a_camera_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"/dev/video97: no such device; cameras here: "):
        CameraSource("97")


def test_a_file_is_no_camera(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    with pytest.raises(InputError, match="--video"):
        CameraSource(str(tmp_path / "a.mp4"))


def test_a_busy_camera_is_refused(device):
    with pytest.raises(InputError, match="in use"):
        CameraSource(device, open_capture=lambda *_: Driver(opened=False))


def test_cameras_are_listed_with_the_paths_that_outlive_a_replug(tmp_path):
    for number, name in ((10, "Doorbell"), (2, "C920")):
        entry = tmp_path / f"sys/class/video4linux/video{number}"
        entry.mkdir(parents=True)
        (entry / "name").write_text(name + "\n")
        device = tmp_path / f"dev/video{number}"
        device.parent.mkdir(exist_ok=True)
        device.touch()
    by_id = tmp_path / "dev/v4l/by-id"
    by_id.mkdir(parents=True)
    (by_id / "usb-C920-index0").symlink_to("../../video2")
    cameras = list_cameras(tmp_path)
    assert [camera.name for camera in cameras] == ["C920", "Doorbell"]
    assert cameras[0].stable == (by_id / "usb-C920-index0",)
    assert cameras[1].stable == ()


def test_a_live_source_is_its_capture_and_nothing_else():
    driver = Driver()
    info = CameraSource("/dev/null", open_capture=lambda *_: driver).info
    source = LiveSource(driver, info, lambda: 7)
    assert source.read().t == 0
    source.close()
    assert driver.released
