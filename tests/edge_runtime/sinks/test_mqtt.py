"""The MQTT sink against a real mosquitto: announced, retained, spooled through outages, and never in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_runtime.backoff import Backoff
from edge_runtime.errors import InputError
from edge_runtime.events import Segment
from edge_runtime.redaction import redact
from edge_runtime.sinks.spool import Spool
from tests.edge_runtime.sinks.live import LABELS, FakeRun, result, start

paho = pytest.importorskip("paho.mqtt.client", reason="no paho-mqtt: pip install edge-action[mqtt]")
mqtt = pytest.importorskip("edge_runtime.sinks.mqtt")
Broker, MqttSink = mqtt.Broker, mqtt.MqttSink

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto: apt-get install mosquitto")
PASSWORD = "p@ss/w0rd:50%"


def until(true: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what or "never happened"
        time.sleep(0.02)


class Mosquitto:
    """A broker of our own on a free port; killed, it forgets everything."""

    def __init__(self, folder: Path, extra: str = "allow_anonymous true") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nuser root\n{extra}\n")
        self.url = f"mqtt://127.0.0.1:{self.port}/site/door"
        self.up()

    def up(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "mosquitto did not start")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class Listener:
    """A subscriber to everything, reconnecting; ``got`` is what arrived, in order."""

    def __init__(self, broker: Mosquitto) -> None:
        self.got: list[tuple[str, object, bool]] = []
        self.subscribed = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        self._client.reconnect_delay_set(1, 1)  # whole seconds only
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", broker.port, keepalive=5)
        self._client.loop_start()
        assert self.subscribed.wait(10)

    def _on_message(self, client: object, data: object, message: object) -> None:
        text = message.payload.decode()  # type: ignore[attr-defined]
        body = json.loads(text) if text.startswith("{") else text
        self.got.append((message.topic, body, message.retain))  # type: ignore[attr-defined]

    def bodies(self, topic: str) -> list[object]:
        return [body for name, body, _ in list(self.got) if name == topic]

    def restart(self, broker: Mosquitto) -> None:
        """Bring the broker up again, and subscribe before anybody else."""
        self.subscribed.clear()
        broker.up()
        assert self.subscribed.wait(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    listener = Listener(broker)
    yield listener
    listener.close()


class Gate(Backoff):
    """Lets the sink reconnect only while open: a broker that was killed knows no subscribers, so they go first."""

    def __init__(self) -> None:
        super().__init__(0.02, 0.1)
        self.open = threading.Event()
        self.open.set()
        self.held = threading.Event()  # the sink waits here
        self.attempts = 0

    def next_s(self) -> float:
        self.attempts += 1
        if not self.open.is_set():
            self.held.set()
        self.open.wait(20)
        return super().next_s()


def sink_to(url: str, run: FakeRun, spool: Spool | None = None, gate: Gate | None = None) -> MqttSink:
    sink = MqttSink(Broker.parse(url), run.telemetry, spool or Spool(), gate or Gate())
    run.sinks.append(sink)
    return sink


def segment(number: int) -> Segment:
    return Segment("hug", float(number), number + 1.0, 0.9)


@needs_broker
def test_a_run_is_told_to_the_broker(broker: Mosquitto, listener: Listener) -> None:
    """Shows status, start, results, state, health, segments and summary topics, and the goodbye."""
    run = FakeRun()
    sink = sink_to(broker.url, run)
    until(lambda: listener.bodies("site/door/status") == ["online"])
    run.emit(start())
    run.play(3)
    until(lambda: listener.bodies("site/door/segment"))
    until(lambda: len(listener.bodies("site/door/result")) == 3)
    sink.close()
    until(lambda: listener.bodies("site/door/status")[:2] == ["online", "offline"])  # the last will may say it again
    assert listener.bodies("site/door/start")[0]["labels"] == list(LABELS)
    assert listener.bodies("site/door/segment")[0]["label"] == "hug"
    assert listener.bodies("site/door/state")[0]["label"] == "hug"
    assert any(health["state"] == "ok" for health in listener.bodies("site/door/health"))


@needs_broker
def test_a_late_subscriber_finds_state_status_and_discovery_retained(broker: Mosquitto) -> None:
    run = FakeRun()
    sink = sink_to(broker.url, run)
    run.emit(start())
    until(lambda: sink._connected)
    run.play()
    until(lambda: sink._spool.waiting == 0)
    listener = Listener(broker)
    until(lambda: listener.bodies("site/door/state") and listener.bodies("site/door/health"))
    retained = {topic: body for topic, body, kept in listener.got if kept}
    assert retained["site/door/status"] == "online"
    assert "site/door/segment" not in retained
    action = retained["homeassistant/sensor/site-door/action/config"]
    assert action["options"] == list(LABELS)
    assert action["state_topic"] == "site/door/state"
    assert action["availability_topic"] == "site/door/status"
    entities = [body for topic, body in retained.items() if topic.startswith("homeassistant/")]
    assert len({entity["unique_id"] for entity in entities}) == len(entities) == 6
    assert all(entity["device"]["identifiers"] == ["site-door"] for entity in entities)
    sink.close()
    listener.close()


@needs_broker
def test_a_cut_connection_is_told_by_the_last_will(broker: Mosquitto, listener: Listener) -> None:
    """Shows that subscribers hear `offline` from the broker when the process dies without a word."""
    run = FakeRun()
    sink = sink_to(broker.url, run)
    until(lambda: listener.bodies("site/door/status") == ["online"])
    sink._client.socket().shutdown(socket.SHUT_RDWR)
    until(lambda: "offline" in listener.bodies("site/door/status"))
    until(lambda: listener.bodies("site/door/status")[-1] == "online", "did not come back")
    sink.close()


@needs_broker
def test_events_of_an_outage_arrive_once_and_in_order_after_it(
    broker: Mosquitto, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """Shows that a killed broker costs nothing but time, and is mentioned once when lost and once when back."""
    caplog.set_level("INFO")
    run = FakeRun()
    gate = Gate()
    sink = sink_to(broker.url, run, gate=gate)
    until(lambda: sink._connected)
    gate.open.clear()
    broker.kill()
    for number in range(50):
        run.emit(segment(number))
    listener.restart(broker)
    gate.open.set()
    run.emit(segment(50))
    until(lambda: len(listener.bodies("site/door/segment")) >= 51)
    sink.close()
    starts = [body["start"] for body in listener.bodies("site/door/segment")]
    assert starts == [float(number) for number in range(51)]
    ids = [body["id"] for body in listener.bodies("site/door/segment")]
    assert len(set(ids)) == len(ids)
    assert caplog.text.count("events wait until it is back") == 1


@needs_broker
@pytest.mark.slow
def test_a_broker_killed_again_and_again_loses_no_event(broker: Mosquitto, listener: Listener, tmp_path: Path) -> None:
    """Shows that through ten kills each segment arrives; a second copy carries the same id."""
    run = FakeRun()
    gate = Gate()
    sink = sink_to(broker.url, run, Spool(tmp_path / "mqtt.spool"), gate)
    number = 0
    for _ in range(10):
        until(lambda: sink._connected)
        for _ in range(30):
            run.emit(segment(number))
            number += 1
        time.sleep(0.3)  # a broker that is killed forgets what it acknowledged and has not passed on yet
        gate.open.clear()
        broker.kill()
        for _ in range(5):
            run.emit(segment(number))
            number += 1
        listener.restart(broker)
        gate.open.set()
    until(lambda: len({body["id"] for body in listener.bodies("site/door/segment")}) == number)
    sink.close()
    starts = {body["id"]: body["start"] for body in listener.bodies("site/door/segment")}
    assert sorted(starts.values()) == [float(n) for n in range(number)]


@needs_broker
def test_a_paused_broker_stalls_nobody(broker: Mosquitto, listener: Listener) -> None:
    """Shows that emitting does not wait for a broker that has stopped reading, and that nothing is lost."""
    run = FakeRun()
    sink = sink_to(broker.url, run)
    until(lambda: sink._connected)
    broker.pause()
    for number in range(500):  # returns before the broker is resumed
        run.emit(segment(number))
        run.emit(result(number))
    assert len(sink._under_way) <= mqtt._WINDOW
    assert sink._spool.waiting > mqtt._WINDOW
    broker.resume()
    until(lambda: len({body["id"] for body in listener.bodies("site/door/segment")}) == 500)
    sink.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system needs root and the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@needs_broker
@pytest.mark.slow
def test_a_broker_whose_disk_is_full_costs_no_event(tmp_path: Path, small_disk: Path) -> None:
    """Shows mosquitto out of disk: events go on being taken, and are on its disk once that has room again.

    It acknowledges what it holds in memory alone, so one that is killed meanwhile takes those with it.
    """
    log, ballast = tmp_path / "log", small_disk / "ballast"
    keep = f"persistence true\npersistence_location {small_disk}/\nautosave_on_changes true\nautosave_interval 1"
    broker = Mosquitto(tmp_path, f"allow_anonymous true\n{keep}\nmax_queued_messages 0\nlog_dest file {log}")
    try:
        listener = Listener(broker)
        listener.close()  # the broker keeps its messages
        ballast.write_bytes(bytes(250_000))
        run = FakeRun()
        sink = sink_to(broker.url, run)
        for number in range(500):
            run.emit(segment(number))
        until(lambda: "No space left" in log.read_text(), "the disk never was full")
        until(lambda: sink._spool.waiting == 0)
        run.emit(segment(500))
        until(lambda: sink._spool.waiting == 0)
        ballast.unlink()
        before = len(log.read_text())
        run.emit(segment(501))  # the broker saves when something changes
        until(lambda: "Saving in-memory database" in log.read_text()[before:])
        sink.close()
        until(lambda: log.read_text()[before:].count("Saving in-memory database") > 1)  # the goodbye: saved since
        broker.kill()
        broker.up()
        listener = Listener(broker)
        until(lambda: len(listener.bodies("site/door/segment")) >= 502)
        assert [body["start"] for body in listener.bodies("site/door/segment")] == [float(n) for n in range(502)]
        listener.close()
    finally:
        broker.kill()


@needs_broker
@pytest.mark.slow
def test_a_broker_that_is_full_refuses_and_gets_the_newest_once_it_has_room(tmp_path: Path) -> None:
    """Shows mosquitto out of memory: it throws its clients out; the spool stays bounded, emitting costs nothing."""
    broker = Mosquitto(tmp_path, "allow_anonymous true\nmax_queued_messages 0\nmemory_limit 200000")
    try:
        listener = Listener(broker)
        listener.close()
        run = FakeRun()
        gate = Gate()
        sink = sink_to(broker.url, run, Spool(limit=100), gate)
        number = 0
        while sink._spool.lost < 100:  # until it takes nothing more, and the spool is full
            assert number < 50_000
            run.emit(segment(number))
            number += 1
            time.sleep(0.001)
        assert sink._spool.waiting == 100
        gate.open.clear()
        until(gate.held.is_set)
        broker.kill()
        (tmp_path / "mosquitto.conf").write_text(f"listener {broker.port} 127.0.0.1\nuser root\nallow_anonymous true\n")
        broker.up()
        listener = Listener(broker)
        gate.open.set()
        until(lambda: len(listener.bodies("site/door/segment")) >= 100)
        sink.close()
        starts = [body["start"] for body in listener.bodies("site/door/segment")]
        assert starts[-100:] == [float(n) for n in range(number - 100, number)]
        listener.close()
    finally:
        broker.kill()


@needs_broker
def test_the_spool_is_bounded_and_keeps_the_newest(broker: Mosquitto, listener: Listener) -> None:
    broker.kill()
    run, gate = FakeRun(), Gate()
    gate.open.clear()
    sink = sink_to(broker.url, run, Spool(limit=10), gate)
    for number in range(25):
        run.emit(segment(number))
    listener.restart(broker)
    gate.open.set()
    until(lambda: len(listener.bodies("site/door/segment")) == 10)
    sink.close()
    assert [body["start"] for body in listener.bodies("site/door/segment")] == [float(n) for n in range(15, 25)]


@needs_broker
def test_events_outlive_a_restart_of_the_process(broker: Mosquitto, listener: Listener, tmp_path: Path) -> None:
    broker.kill()
    run = FakeRun()
    sink = sink_to(broker.url, run, Spool(tmp_path / "mqtt.spool"))
    for number in range(5):
        run.emit(segment(number))
    sink.close()
    listener.restart(broker)
    sink = sink_to(broker.url, FakeRun(), Spool(tmp_path / "mqtt.spool"))
    until(lambda: len(listener.bodies("site/door/segment")) == 5)
    sink.close()


@needs_broker
@pytest.mark.parametrize("how", ["killed", "paused"])
def test_closing_is_quick_without_a_broker(broker: Mosquitto, how: str) -> None:
    run = FakeRun()
    sink = sink_to(broker.url, run)
    until(lambda: sink._connected)
    broker.kill() if how == "killed" else broker.pause()
    for number in range(100):
        run.emit(segment(number))
    begun = time.monotonic()
    sink.close()
    assert time.monotonic() - begun < mqtt._KEEPALIVE_S  # promised: 2 s, and by no means until the broker is missed
    broker.resume() if how == "paused" else broker.up()


@needs_broker
def test_a_refused_password_is_said_once_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", PASSWORD], check=True)
    broker = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    try:
        monkeypatch.setenv(mqtt.PASSWORD, "wrong-pa55word")
        url = broker.url.replace("//", "//cam@")
        run = FakeRun()
        gate = Gate()
        sink = sink_to(url, run, gate=gate)
        until(lambda: "refused: Not authorized" in caplog.text)
        until(lambda: gate.attempts > 5)
        sink.close()
        assert caplog.text.count("refused") == 1
        assert "wrong-pa55word" not in caplog.text + repr(Broker.parse(url))
        monkeypatch.setenv(mqtt.PASSWORD, PASSWORD)
        sink = sink_to(url, run)
        until(lambda: sink._connected)
        sink.close()
    finally:
        broker.kill()


def test_an_address_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mqtt.PASSWORD, raising=False)
    assert Broker.parse("mqtt://host") == Broker("host", 1883, False, f"edge/{mqtt._identifier(socket.gethostname())}")
    assert Broker.parse("mqtts://me:a%40b@h:9/x/y/") == Broker("h", 9, True, "x/y", "me", "a@b")
    monkeypatch.setenv("BROKER_PW", PASSWORD)
    assert Broker.parse("mqtt://me:${BROKER_PW}@h").password == PASSWORD
    assert "w0rd" not in redact(f"bad user name or password ({PASSWORD})")


@pytest.mark.parametrize(
    "url", ["", "host", "http://host", "mqtt://", "mqtt://h:x", "mqtt://h/a/+/b", "mqtt://h/a//b", "mqtt://[h"]
)
def test_a_bad_address_is_one_clear_line(url: str) -> None:
    with pytest.raises(InputError, match="--mqtt"):
        Broker.parse(url)


def test_a_password_without_a_user_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mqtt.PASSWORD, PASSWORD)
    with pytest.raises(InputError, match="a password needs a user name"):
        Broker.parse("mqtt://host")
