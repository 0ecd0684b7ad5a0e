"""``--mqtt mqtt[s]://[user[:password]@]host[:port][/prefix]``: the run on an MQTT broker, and in Home Assistant.

    <prefix>/status    online | offline    retained; offline is the last will, so that a cut cable says it too
    <prefix>/state     {label, score, t}   retained; when the label changes, at most once a second else
    <prefix>/health    {state, …}          retained; on change and every 10 s
    <prefix>/result    each result         while connected: an opinion five seconds old is worth nothing
    <prefix>/start  /segment  /fault  /summary    queued while the broker is away and sent when it is back, in order

Everything is QoS 1. The default prefix is ``edge/<host name>``. Queued messages carry an ``id``: a broker may deliver
twice what it acknowledged into a dying connection. The password may come from ``EDGE_MQTT_PASSWORD`` or its file.

`emit` only queues, so a dead broker costs the run nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_runtime import __version__
from edge_runtime.backoff import Backoff
from edge_runtime.errors import InputError
from edge_runtime.events import Event, Features, Result, Start, to_json
from edge_runtime.redaction import expand_secrets, read_secret, redact, remember
from edge_runtime.sinks.spool import Spool
from edge_runtime.telemetry import Telemetry

PASSWORD = "EDGE_MQTT_PASSWORD"

HEALTH_PERIOD_S = 10.0
STATE_PERIOD_S = 1.0
_WINDOW = 20  # messages under way; a broker that stops acknowledging holds no more than these
_RESULTS_WAITING = 64  # for a broker that reads slowly; older ones are left out
_KEEPALIVE_S = 15
_CONNECT_TIMEOUT_S = 5.0
_PARTING_S = 0.5  # to hand over the summary and say goodbye

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to publish, and as whom."""

    host: str
    port: int
    tls: bool
    prefix: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """From ``mqtt[s]://[user[:password]@]host[:port][/prefix]``, ``${NAME}`` standing for a secret.

        Raises:
            InputError: anything else.
        """
        expected = "expected mqtt[s]://[user@]host[:port][/topic/prefix]"
        url = expand_secrets(url)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(redact(f"--mqtt {url}: {error}; {expected}")) from None
        if parts.scheme not in ("mqtt", "mqtts") or not host or parts.query or parts.fragment:
            raise InputError(redact(f"--mqtt {url}: {expected}"))
        prefix = unquote(parts.path).strip("/") or f"edge/{_identifier(socket.gethostname())}"
        if re.search(r"[+#\0]|//", prefix) or len(prefix) > 200:
            raise InputError(redact(f"--mqtt {url}: a topic prefix holds no '+', '#' or empty level"))
        password = remember(unquote(parts.password)) if parts.password else read_secret(PASSWORD)
        user = unquote(parts.username) if parts.username else None
        if password and not user:
            raise InputError(redact(f"--mqtt {url}: a password needs a user name: mqtt://user@host"))
        tls = parts.scheme == "mqtts"
        return cls(host, port or (8883 if tls else 1883), tls, prefix, user, password)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class MqttSink:
    """Connects in the background and stays connected until `close`; a `Sink`.

    Only the network thread touches the client: paho calls back with its own lock held, so a second thread that
    published under a lock of ours could wait for the first, and the first for it.
    """

    name = "mqtt"

    def __init__(self, broker: Broker, telemetry: Telemetry, spool: Spool, backoff: Backoff | None = None) -> None:
        self._broker = broker
        self._telemetry = telemetry
        self._spool = spool
        self._backoff = backoff or Backoff()
        self._start: Start | None = None
        self._introduced: Start | None = None
        self._results: deque[Result] = deque(maxlen=_RESULTS_WAITING)
        self._state_told: tuple[str, float] = ("", float("-inf"))  # label and when
        self._health_told: tuple[str, float] = ("", float("-inf"))
        self._sent = 0  # number of the newest spooled message handed to the client
        self._under_way: dict[int, int] = {}  # client's message id -> our number
        self._connected = False
        self._refusal: str | None = None
        self._stop = threading.Event()
        self._wake, self._alarm = socket.socketpair()
        self._wake.setblocking(False)
        self._alarm.setblocking(False)
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Raises OSError when an event could not be queued: the disk is full."""
        if isinstance(event, Features):
            return
        if isinstance(event, Result):
            self._results.append(event)
        else:
            if isinstance(event, Start):
                self._start = event
            self._spool.put(event.event, redact(to_json(event)))
        self._rouse()

    def close(self) -> None:
        """Hand over what can be in half a second, say goodbye, and leave; the rest is logged and stays in the spool."""
        self._stop.set()
        self._rouse()
        self._thread.join(timeout=2 * _PARTING_S)
        self._spool.report_waiting(f"mqtt {self._broker}")
        if not self._thread.is_alive():  # else it is inside a connection attempt, and ends by itself after it
            self._spool.close()
            self._wake.close()
            self._alarm.close()

    def _rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of wake-up calls already
            self._alarm.send(b"!")

    # ---- the network thread: the connection

    def _new_client(self) -> paho.Client:
        client_id = f"edge-{_identifier(self._broker.prefix)}"
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.will_set(f"{self._broker.prefix}/status", "offline", qos=1, retain=True)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.tls:
            client.tls_set()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _run(self) -> None:
        lost_at, said = time.monotonic(), False  # one line for an outage, however many attempts it takes
        while not self._stop.is_set():
            reason, served = self._connect_and_serve(lost_at)
            if served:
                lost_at, said = time.monotonic(), False
            if not said and not self._stop.is_set():
                _log.warning("mqtt %s: %s; events wait until it is back", self._broker, redact(reason))
                said = True
            self._stop.wait(self._backoff.next_s())

    def _connect_and_serve(self, lost_at: float) -> tuple[str, bool]:
        """Until the connection ends: why it did, and whether it had come about."""
        self._refusal = None
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:  # ValueError: a host name that no resolver takes
            return str(error), False
        served, code = False, MQTTErrorCode.MQTT_ERR_SUCCESS
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._stop.is_set():
            code = self._exchange()
            if self._connected and not served:
                served = True
                _log.info("mqtt %s: connected after %.1f s", self._broker, time.monotonic() - lost_at)
            if self._connected:
                self._publish_news()
        if self._connected:
            self._part()
        self._connected = False
        return self._refusal or paho.error_string(code), served

    def _exchange(self, timeout_s: float = 0.5) -> MQTTErrorCode:
        """Read and write what the socket will take; returns at once when there is news to publish."""
        connection = self._client.socket()
        if connection is None:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        writing = [connection] if self._client.want_write() else []
        decrypted = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0  # select cannot see these
        readable, writable, _ = select.select([connection, self._wake], writing, [], 0 if decrypted else timeout_s)
        if self._wake in readable:
            self._wake.recv(4096)
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if connection in readable or decrypted:
            code = self._client.loop_read()
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and writable:
            code = self._client.loop_write()
        return code or self._client.loop_misc()

    def _part(self) -> None:
        deadline = time.monotonic() + _PARTING_S
        self._publish_news()
        while (self._under_way or self._spool.waiting) and time.monotonic() < deadline and not self._exchange(0.05):
            self._publish_news()
        self._publish("status", "offline", retain=True)
        self._client.disconnect()
        while self._client.want_write() and time.monotonic() < deadline and not self._exchange(0.05):
            pass

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"refused: {reason}"
            return
        self._backoff.reset()
        self._introduced = None
        self._health_told = self._state_told = ("", float("-inf"))
        self._results.clear()
        self._connected = True
        self._publish("status", "online", retain=True)

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected = False

    def _on_publish(self, client: paho.Client, data: Any, number: int, reason: Any, properties: Any) -> None:
        done = self._under_way.pop(number, None)
        if done is not None:
            self._spool.done(done)

    # ---- the network thread: what is published

    def _publish_news(self) -> None:
        if self._start is not self._introduced and self._start is not None:
            self._introduced = self._start
            for topic, entity in discovery(self._broker.prefix, self._start).items():
                self._client.publish(topic, json.dumps(entity), qos=1, retain=True)
        self._publish_spooled()
        while self._results:
            self._publish_result(self._results.popleft())
        self._publish_health()

    def _publish_spooled(self) -> None:
        """Hand spooled messages to the client, as many as the window allows."""
        for message in self._spool.after(self._sent, _WINDOW - len(self._under_way)):
            body = json.dumps({"id": message.number} | json.loads(message.body))
            info = self._client.publish(f"{self._broker.prefix}/{message.kind}", body, qos=1)
            # also when the connection has just gone: the client keeps it, and sends it after the next connect
            self._sent = message.number
            self._under_way[info.mid] = message.number

    def _publish_result(self, result: Result) -> None:
        self._publish("result", to_json(result))
        label, at = self._state_told
        if result.warm and (result.label != label or time.monotonic() - at >= STATE_PERIOD_S):
            self._state_told = (result.label, time.monotonic())
            state = {"label": result.label, "score": result.score, "t": result.t}
            self._publish("state", json.dumps(state), retain=True)

    def _publish_health(self) -> None:
        told, at = self._health_told
        state = self._telemetry.health.state()
        if state != told or time.monotonic() - at >= HEALTH_PERIOD_S:
            self._health_told = (state, time.monotonic())
            status = self._telemetry.status() | {"waiting": self._spool.waiting, "lost": self._spool.lost}
            self._publish("health", redact(json.dumps(status)), retain=True)

    def _publish(self, topic: str, body: str, *, retain: bool = False) -> None:
        self._client.publish(f"{self._broker.prefix}/{topic}", body, qos=1, retain=retain)


def discovery(prefix: str, start: Start) -> dict[str, dict[str, Any]]:
    """Home Assistant's discovery messages for a run: topic -> entity (home-assistant.io, integrations/mqtt)."""
    device_id = _identifier(prefix)
    common = {
        "availability_topic": f"{prefix}/status",
        "device": {
            "identifiers": [device_id],
            "name": prefix.rpartition("/")[2],
            "model": "edge-run",
            "sw_version": __version__,
        },
    }
    state, health = f"{prefix}/state", f"{prefix}/health"
    latency = "value_json.stages.get('capture_to_result', {}).get('p99_ms')"
    entities: dict[tuple[str, str], dict[str, Any]] = {
        ("sensor", "action"): {
            "name": "Action",
            "state_topic": state,
            "value_template": "{{ value_json.label }}",
            "device_class": "enum",
            "options": list(start.labels),
        },
        ("sensor", "score"): {
            "name": "Score",
            "state_topic": state,
            "value_template": "{{ (value_json.score * 100) | round(0) }}",
            "unit_of_measurement": "%",
        },
        ("sensor", "health"): {
            "name": "Health",
            "state_topic": health,
            "value_template": "{{ value_json.state }}",
            "entity_category": "diagnostic",
        },
        ("sensor", "latency"): {
            "name": "Capture to result, 99 %",
            "state_topic": health,
            "value_template": f"{{{{ {latency} }}}}",
            "unit_of_measurement": "ms",
            "device_class": "duration",
            "entity_category": "diagnostic",
        },
        ("sensor", "temperature"): {
            "name": "Temperature",
            "state_topic": health,
            "value_template": "{{ value_json.device.temperature_c }}",
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "entity_category": "diagnostic",
        },
        ("binary_sensor", "problem"): {
            "name": "Problem",
            "state_topic": health,
            "value_template": "{{ 'OFF' if value_json.state in ['ok', 'warming', 'starting'] else 'ON' }}",
            "device_class": "problem",
        },
    }
    return {
        f"homeassistant/{component}/{device_id}/{name}/config": entity | common | {"unique_id": f"{device_id}_{name}"}
        for (component, name), entity in entities.items()
    }


def _identifier(text: str) -> str:
    """Letters, digits, ``_`` and ``-`` only: what a discovery topic may hold."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)
