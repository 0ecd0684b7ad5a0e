"""``--serve``: a web page that shows the run, and the addresses that machines ask.

    /             the page: live video, current action, timeline, latency against budget, drops, faults, temperature
    /stream.mjpg  the picture alone, for other viewers (Home Assistant, VLC)
    /events       what the page listens to: server-sent events, one JSON object each
    /livez        200 while a restart would not help; 503 otherwise. Body: the state
    /readyz       200 while results are valid and current; 503 otherwise. Body: the state
    /metrics      Prometheus text

Nothing here can slow the run: frames and events are left in a mailbox and a ring (`Picture`, `Feed`), each viewer
has a thread that takes from them what it can carry, and a viewer that takes nothing is cut off after `TIMEOUT_S`.

The page reads and never commands, so what has to be guarded is the view of the camera. Without a token only this
machine may look, and only under its own name (a foreign page that rebinds its DNS name to 127.0.0.1 is refused). With
a token, HTTP Basic (any user name, the token as password: browsers ask for it by themselves) or Bearer. The probes
answer without it, since they say one word. Put a TLS proxy in front where the network is not yours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import InputError
from edge_runtime.events import Event, Fault, Features, Start, to_json
from edge_runtime.health import HealthMonitor
from edge_runtime.redaction import read_secret, redact
from edge_runtime.sinks.feed import Feed
from edge_runtime.sinks.overlay import Overlay
from edge_runtime.sinks.picture import Picture
from edge_runtime.sinks.prometheus import CONTENT_TYPE, exposition
from edge_runtime.sources.base import Frame
from edge_runtime.telemetry import Telemetry

TOKEN = "EDGE_SERVE_TOKEN"
TIMEOUT_S = 10.0  # a peer that neither reads nor writes for so long is gone
MAX_CONNECTIONS = 32
STATUS_PERIOD_S = 1.0
_SHORTEST_TOKEN = 16

_BOUNDARY = "frame"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
# the only files there are; a path that is not a key here does not exist, however it is spelled
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``port`` 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``; the host is 127.0.0.1 unless given.

        Raises:
            InputError: anything else.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InputError(f"--serve {text}: write an IPv6 address in brackets, [::1]:8080")
        if (colon and not host) or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise InputError(f"--serve {text}: expected [HOST:]PORT with a port of 0 to 65535, for instance 8080")
        return cls(host or "127.0.0.1", int(port))

    @property
    def loopback(self) -> bool:
        """Reachable from this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def serve_token(address: Address) -> str | None:
    """The token that visitors must show.

    Raises:
        InputError: the address can be reached from other machines and there is no token, or it is guessable.
    """
    token = read_secret(TOKEN)
    if token is None and not address.loopback:
        raise InputError(
            f"--serve {address}: other machines can reach this address, so a token is required; put one in {TOKEN} "
            f"or in a file named by {TOKEN}_FILE (openssl rand -hex 16), or serve on 127.0.0.1"
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise InputError(
            f"{TOKEN}: {len(token)} characters can be guessed; expected {_SHORTEST_TOKEN} or more "
            "(openssl rand -hex 16)"
        )
    return token


class WebSink:
    """Serves from construction to `close`; a `FrameSink`."""

    name = "web"

    def __init__(self, address: Address, telemetry: Telemetry, token: str | None = None) -> None:
        """
        Raises:
            InputError: the address cannot be listened on.
        """
        self._telemetry = telemetry
        self._overlay = Overlay()
        self._overlay_lock = threading.Lock()  # events arrive on one thread, pictures are drawn on another
        self.feed = Feed()
        self.picture = Picture(self._draw)
        try:
            self._server = _Server(address, self, token)
        except (OSError, UnicodeError) as error:
            self.picture.close()
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise InputError(f"--serve {address}: cannot listen there: {reason}") from None
        self.address = Address(address.host, self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="web", daemon=True)
        self._thread.start()
        _log.info("serving http://%s/", self.address)

    @property
    def wants_picture(self) -> bool:
        return self.picture.wanted

    def show(self, frame: Frame, image: npt.NDArray[np.uint8]) -> None:
        self.picture.show(image, frame.t)

    def emit(self, event: Event) -> None:
        if isinstance(event, Features):
            return  # 2048 numbers that no page shows
        with self._overlay_lock:
            self._overlay.take(event)
        text = to_json(event)
        self.feed.put(redact(text) if isinstance(event, Start | Fault) else text)

    def close(self) -> None:
        """Stop listening and part from every viewer, reading or not; well under a second."""
        self.feed.close()
        self.picture.close()
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_off()
        self._thread.join(timeout=1)

    @property
    def health(self) -> HealthMonitor:
        return self._telemetry.health

    def status(self) -> str:
        return json.dumps({"event": "status", **self._telemetry.status(), "viewers": self.picture.viewers})

    def metrics(self) -> str:
        return exposition(self._telemetry.metrics(viewers=self.picture.viewers))

    def _draw(self, image: npt.NDArray[np.uint8], t: float) -> None:
        with self._overlay_lock:
            self._overlay.draw(image, t)


_PROBES: dict[str, Callable[[HealthMonitor], bool]] = {
    "/livez": HealthMonitor.alive,
    "/readyz": lambda health: health.state().ready,
}


def _digest(token: str) -> bytes:
    """Of one length whatever the token's, so that comparing takes one time."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _shown_token(authorization: str) -> str:
    """The token in an ``Authorization`` header of either scheme; empty when there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except binascii.Error:
        return ""


def _names_this_machine(host: str) -> bool:
    """Whether a ``Host`` header is the loopback's own name, with or without a port."""
    name = urlsplit(f"//{host}").hostname if "@" not in host and host.count("[") == host.count("]") else None
    return name is not None and Address(name, 0).loopback


class _Server(ThreadingHTTPServer):
    """One thread a connection, at most `MAX_CONNECTIONS`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: Address, sink: WebSink, token: str | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.sink = sink
        self.closing = threading.Event()
        self._tokens = (_digest(token),) if token is not None else ()
        self._own_names = address.loopback and token is None
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host name up in DNS, which hangs for seconds where there is no network
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def allows(self, authorization: str, host: str) -> HTTPStatus:
        """OK, UNAUTHORIZED, or MISDIRECTED_REQUEST for a name that is not this machine's."""
        if self._own_names and not _names_this_machine(host):
            return HTTPStatus.MISDIRECTED_REQUEST
        if not self._tokens:
            return HTTPStatus.OK
        shown = _digest(_shown_token(authorization))
        return HTTPStatus.OK if hmac.compare_digest(shown, self._tokens[0]) else HTTPStatus.UNAUTHORIZED

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            full = len(self._open) >= MAX_CONNECTIONS
            if not full:
                self._open.add(request)
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_off(self) -> None:
        """End connections whose peers do not read; their threads wake up with an error and finish."""
        self.closing.set()
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it ended by itself

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            _log.error("request of %s failed", client_address[0], exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    disable_nagle_algorithm = True

    def version_string(self) -> str:
        return "edge"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s " + format, self.address_string(), *args)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        probe = _PROBES.get(path)
        if probe is not None:
            self._probe(probe)
            return
        verdict = self.server.allows(self.headers.get("Authorization", ""), self.headers.get("Host", ""))
        if verdict is not HTTPStatus.OK:
            self._text(verdict, verdict.phrase)
        elif path in _PAGE:
            name, kind = _PAGE[path]
            self._send(HTTPStatus.OK, kind, resources.files(__package__).joinpath("page", name).read_bytes())
        elif path in self._ROUTES:
            self._ROUTES[path](self)
        else:
            self._text(HTTPStatus.NOT_FOUND, "not found")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _probe(self, passes: Callable[[HealthMonitor], bool]) -> None:
        health = self.server.sink.health
        status = HTTPStatus.OK if passes(health) else HTTPStatus.SERVICE_UNAVAILABLE
        self._text(status, health.state())

    def _metrics(self) -> None:
        self._send(HTTPStatus.OK, CONTENT_TYPE, self.server.sink.metrics().encode())

    def _stream(self) -> None:
        picture = self.server.sink.picture
        with picture.watch() as number:
            self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            while not self.server.closing.is_set() and self.command == "GET":
                new = picture.next(number, timeout_s=1.0)
                if new is None:
                    if self._gone():
                        return
                    continue
                number, jpeg = new
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")

    def _events(self) -> None:
        self._begin("text/event-stream")
        feed = self.server.sink.feed
        last = self.headers.get("Last-Event-ID", "")
        number = int(last) if last.isascii() and last.isdigit() else 0
        due = 0.0
        while not self.server.closing.is_set() and self.command == "GET":
            lines = []
            if time.monotonic() >= due:  # the status doubles as the heartbeat by which a dead peer is noticed
                lines.append(f"data: {self.server.sink.status()}\n\n")
                due = time.monotonic() + STATUS_PERIOD_S
            new = feed.after(number, timeout_s=0 if lines else due - time.monotonic())
            lines += [f"id: {position}\ndata: {message}\n\n" for position, message in new]
            number = new[-1][0] if new else number
            self.wfile.write("".join(lines).encode())

    def _gone(self) -> bool:
        """True when the peer has closed, noticed without writing to it."""
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(TIMEOUT_S)

    def _begin(self, kind: str) -> None:
        """Headers of an answer without an end."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self._end()

    def _text(self, status: HTTPStatus, body: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{body}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="edge", charset="UTF-8"')
        self._end()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _end(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    _ROUTES: ClassVar[dict[str, Callable[[_Handler], None]]] = {
        "/metrics": _metrics,
        "/stream.mjpg": _stream,
        "/events": _events,
    }
