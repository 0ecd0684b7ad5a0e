"""The state of a run follows from what was seen; systemd is told the truth and fed only on progress."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault, Features
from edge_runtime.health import SOURCE_LOST, SOURCE_RETURNED, HealthMonitor, State, Thresholds, Vitals, assess
from edge_runtime.systemd import Notifier, Supervisor, Ward
from tests.edge_runtime.sinks.live import result, start

S = 1_000_000_000
LIMITS = Thresholds(startup_s=60, starved_s=3, hung_s=10, degraded_miss_ratio=0.1)
GOOD = Vitals(launched_ns=0, flowing_since_ns=1 * S, frame_ns=99 * S, result_ns=99 * S, warm=True)
NOW = 100 * S


class Clock:
    """What time it is, and when the newest frame came."""

    now = 0
    newest: int | None = None

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("vitals", "state"),
    [
        (GOOD, State.OK),
        (Vitals(launched_ns=50 * S), State.STARTING),
        (Vitals(launched_ns=30 * S), State.STARVED),  # 70 s without a first frame
        (Vitals(launched_ns=50 * S, reconnecting=True), State.STARVED),
        (replace(GOOD, warm=False), State.WARMING),
        (replace(GOOD, frame_ns=96 * S), State.STARVED),
        (replace(GOOD, reconnecting=True), State.STARVED),
        (replace(GOOD, result_ns=88 * S), State.HUNG),
        (replace(GOOD, result_ns=None, warm=False), State.HUNG),  # never a result, 98 s after the first frame
        (replace(GOOD, result_ns=None, warm=False, flowing_since_ns=95 * S), State.WARMING),
        (replace(GOOD, frame_ns=50 * S, result_ns=50 * S), State.STARVED),  # the camera stopped, not the network
        (replace(GOOD, miss_ratio=0.2), State.DEGRADED),
        (replace(GOOD, throttled=True), State.THROTTLED),
        (replace(GOOD, throttled=True, miss_ratio=0.2), State.THROTTLED),  # the cause before the effect
    ],
)
def test_the_gravest_state_that_holds_is_reported(vitals: Vitals, state: State) -> None:
    assert assess(vitals, NOW, LIMITS) is state


def test_only_valid_and_current_results_are_ready() -> None:
    assert {state for state in State if state.ready} == {State.OK, State.DEGRADED, State.THROTTLED}


def monitor(clock: Clock, **more: object) -> HealthMonitor:
    return HealthMonitor(lambda: clock.newest, LIMITS, clock=clock, **more)  # type: ignore[arg-type]


def frame(clock: Clock) -> None:
    """One comes, a millisecond later."""
    clock.now += 1_000_000
    clock.newest = clock.now


def test_a_run_goes_through_its_states() -> None:
    """Shows a whole life: starting, warming, ok, starved while the camera is away, ok, hung."""
    clock = Clock()
    health = monitor(clock)
    health.emit(start())
    assert health.state() is State.STARTING
    frame(clock)
    assert health.state() is State.WARMING
    health.emit(result(5, warm=False))
    assert health.state() is State.WARMING
    health.emit(result(11))
    assert health.state() is State.OK
    clock.now += 4 * S
    assert (health.state(), health.alive()) == (State.STARVED, False)
    health.emit(Fault(SOURCE_LOST))
    assert (health.state(), health.alive()) == (State.STARVED, True)
    clock.now += 3600 * S
    assert health.alive()  # a restart would not bring the camera back
    health.emit(Fault(SOURCE_RETURNED))
    frame(clock)
    assert health.state() is State.OK  # not hung: the network owes nothing for the hour without frames
    health.emit(result(17))
    assert health.state() is State.OK
    for _ in range(12):
        clock.now += 1 * S
        frame(clock)
        health.state()  # the supervisor asks once a second
    assert (health.state(), health.alive()) == (State.HUNG, False)


def test_features_without_a_head_are_results_too() -> None:
    clock = Clock()
    health = monitor(clock)
    frame(clock)
    health.emit(Features(5, 0.1, (0.0,), 10.0))
    assert health.state() is State.OK


def test_degraded_and_throttled_are_asked_of_those_who_know() -> None:
    clock = Clock()
    late, hot = monitor(clock, miss_ratio=lambda: 0.5), monitor(clock, throttled=lambda: True)
    for health, state in ((late, State.DEGRADED), (hot, State.THROTTLED)):
        frame(clock)
        health.emit(result(5))
        assert health.state() is state


def test_the_watchdog_is_fed_only_when_frames_advance() -> None:
    """Shows that feeding follows frames, ends with them, and goes on through an outage that is being mended."""
    clock = Clock()
    health = monitor(clock)
    assert health.advanced()  # models may still be loading
    frame(clock)
    assert health.advanced()
    assert not health.advanced()
    frame(clock)
    health.emit(result(5))
    assert health.advanced()
    health.emit(Fault(SOURCE_LOST))
    assert health.advanced()
    assert health.advanced()
    health.emit(Fault(SOURCE_RETURNED))
    assert not health.advanced()
    for _ in range(12):
        clock.now += 1 * S
        frame(clock)
        health.state()  # the supervisor asks once a second
    assert health.state() is State.HUNG
    assert not health.advanced()  # frames come, but nothing is made of them


def test_thresholds_are_read_from_a_table() -> None:
    assert Thresholds.parse({"hung_s": 5}).hung_s == 5.0
    assert Thresholds.parse({}) == Thresholds()


@pytest.mark.parametrize(
    "table", [{"hung": 5}, {"hung_s": 0}, {"hung_s": "5"}, {"hung_s": True}, {"hung_s": float("inf")}]
)
def test_a_bad_threshold_is_one_clear_line(table: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"\[health\] hung"):
        Thresholds.parse(table)


class Camera:
    """Frames on the real clock."""

    newest: int | None = None

    def frame(self) -> None:
        self.newest = time.monotonic_ns()


class Manager:
    """systemd's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        """All that was said since the last call."""
        self._socket.setblocking(False)
        said = []
        try:
            while True:
                said.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            self.heard += said
            return said

    def wait_for(self, message: str) -> None:
        deadline = time.monotonic() + 60
        while not any(message in line for line in self.heard):
            assert time.monotonic() < deadline, f"never heard {message}: {self.heard}"
            self.hear()
            time.sleep(0.02)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_systemd_hears_of_readiness_state_and_end(manager: Manager) -> None:
    camera = Camera()
    health = HealthMonitor(lambda: camera.newest, LIMITS)
    with Supervisor([Ward(health=health)], Notifier(manager.environ)):
        manager.wait_for("EXTEND_TIMEOUT_USEC=")
        assert "READY=1" not in manager.heard
        health.emit(start())
        manager.wait_for("READY=1")
        camera.frame()
        health.emit(result(5))
        manager.wait_for("STATUS=ok")
    manager.wait_for("STOPPING=1")


class Beat:
    """Health that says what it is told to; ``asked`` counts the supervisor's ticks."""

    started = True

    def __init__(self, state: State = State.OK, advances: bool = True) -> None:
        self.now, self.advances, self.asked = state, advances, 0

    def state(self) -> State:
        return self.now

    def advanced(self) -> bool:
        self.asked += 1
        return self.advances

    def wait_for_ticks(self, count: int) -> None:
        deadline, wanted = time.monotonic() + 60, self.asked + count
        while self.asked < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def site(**cameras: Beat | None) -> list[Ward]:
    return [Ward((), name, health) for name, health in cameras.items()]  # type: ignore[arg-type]


def test_one_camera_that_hangs_is_not_fed_by_the_others(manager: Manager) -> None:
    """Shows a site: nothing while one network hangs, food again when it moves; the status tells the cameras apart."""
    front, yard = Beat(), Beat()
    with Supervisor(site(front=front, yard=yard), Notifier(manager.environ)):
        manager.wait_for("WATCHDOG=1")
        yard.now, yard.advances = State.HUNG, False
        manager.wait_for("STATUS=front: ok, yard: hung")
        front.wait_for_ticks(2)
        manager.hear()
        front.wait_for_ticks(5)
        assert "WATCHDOG=1" not in manager.hear()
        yard.advances = True
        manager.heard.clear()
        manager.wait_for("WATCHDOG=1")


def test_a_camera_that_is_away_is_no_reason_to_restart_the_others(manager: Manager) -> None:
    """Shows READY and food with one camera that was refused at boot; and none before it was tried."""
    front, wards = Beat(), site(front=Beat(), yard=None)
    wards[0].health = front  # type: ignore[assignment]
    with Supervisor(wards, Notifier(manager.environ)):
        manager.wait_for("STATUS=front: ok, yard: opening")
        front.wait_for_ticks(3)
        manager.hear()
        assert "READY=1" not in manager.heard
        wards[1].absence = "away"
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=front: ok, yard: away")
        manager.heard.clear()
        manager.wait_for("WATCHDOG=1")


def test_sighup_reloads_and_a_slip_keeps_the_old(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    """Shows that SIGHUP reads the thresholds anew, and that a file with a mistake changes nothing and ends nothing."""
    camera = Camera()
    health = HealthMonitor(lambda: camera.newest, LIMITS)
    tables: list[dict[str, object]] = [{"hung_s": 5}, {"hung_s": "soon"}]

    def reload() -> None:
        health.thresholds = Thresholds.parse(tables.pop(0))

    before = signal.getsignal(signal.SIGHUP)
    try:
        with Supervisor([Ward([reload], health=health)], Notifier(manager.environ)):
            for left in (1, 0):
                os.kill(os.getpid(), signal.SIGHUP)
                manager.heard.clear()
                manager.wait_for("RELOADING=1\nMONOTONIC_USEC=")
                manager.wait_for("READY=1")
                assert len(tables) == left
                assert health.thresholds.hung_s == 5
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "kept as it was" in caplog.text


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier({})
    notifier.send(READY=1)
    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send(READY=1)


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "1000000"}).watchdog_s == 1.0
