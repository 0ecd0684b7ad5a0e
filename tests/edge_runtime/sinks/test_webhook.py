"""The webhook delivers each event once it can, in order, and gives up only what will never be taken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge_runtime.backoff import Backoff
from edge_runtime.errors import InputError
from edge_runtime.events import Fault, Segment
from edge_runtime.sinks.spool import Spool
from edge_runtime.sinks.webhook import TOKEN, Hook, WebhookSink
from tests.edge_runtime.sinks.live import result, start


class Receiver:
    """A real HTTP server that answers as told and remembers what it got."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[dict[str, str], dict[str, object]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), json.loads(body)))
                self.send_response(receiver.status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """The test's output is for the test."""

        self._handler = Handler
        self.port = 0
        self.up()

    def up(self) -> None:
        self._server = HTTPServer(("127.0.0.1", self.port), self._handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?room=1"

    def events(self) -> list[object]:
        return [body["event"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.down()


def quick() -> Backoff:
    return Backoff(0.02, 0.05)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_events_arrive_in_order_and_results_do_not(receiver: Receiver) -> None:
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), backoff=quick())
    for event in (start(), result(5), Segment("hug", 0.0, 1.0, 0.9), Fault("gap", 2.0)):
        sink.emit(event)
    sink.close()
    assert receiver.events() == ["start", "segment", "fault"]
    assert receiver.got[1][1]["label"] == "hug"


def test_cameras_that_share_a_receiver_are_told_apart(receiver: Receiver) -> None:
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), "yard", quick())
    sink.emit(start())
    sink.close()
    assert receiver.got[0][1]["camera"] == "yard"


def test_a_receiver_that_is_away_gets_everything_when_it_is_back(receiver: Receiver) -> None:
    receiver.down()
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), backoff=quick())
    for number in range(20):
        sink.emit(Segment("hug", float(number), number + 1.0, 0.9))
    time.sleep(0.2)
    receiver.up()
    until(lambda: len(receiver.got) == 20)
    sink.close()
    assert [body["start"] for _, body in receiver.got] == list(range(20))


def test_a_busy_receiver_is_asked_again_with_the_same_key(receiver: Receiver) -> None:
    receiver.status = 503
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), backoff=quick())
    sink.emit(start())
    until(lambda: len(receiver.got) >= 3)
    receiver.status = 200
    sink.close()
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.got}) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_an_event_that_is_refused_is_dropped_and_the_next_one_sent(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = status
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), backoff=quick())
    sink.emit(start())
    until(lambda: f"answered {status}" in caplog.text)
    receiver.status = 200
    sink.emit(Fault("gap", 1.0))
    sink.close()
    assert receiver.events() == ["start", "fault"]


def test_what_could_not_be_sent_waits_for_the_next_run(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.down()
    sink = WebhookSink(Hook.parse(receiver.url), Spool(tmp_path / "hook.spool"), backoff=quick())
    sink.emit(start())
    begun = time.monotonic()
    sink.close()
    assert time.monotonic() - begun < 8  # promised: 2 s; this machine may be busy with other things
    assert f"1 events were not delivered, they wait in {tmp_path / 'hook.spool'}" in caplog.text
    caplog.clear()
    receiver.up()
    sink = WebhookSink(Hook.parse(receiver.url), Spool(tmp_path / "hook.spool"), backoff=quick())
    sink.emit(Fault("gap", 1.0))
    until(lambda: len(receiver.got) == 2)
    sink.close()
    assert receiver.events() == ["start", "fault"]
    assert "not delivered" not in caplog.text


def test_what_a_run_takes_with_it_is_said(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.down()
    sink = WebhookSink(Hook.parse(receiver.url), Spool(), backoff=quick())
    sink.emit(start())
    sink.close()
    assert "1 events were not delivered, and are gone" in caplog.text


def test_the_token_is_shown_and_never_said(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TOKEN, "s3cr3t-token")
    hook = Hook.parse(receiver.url)
    receiver.status = 401
    sink = WebhookSink(hook, Spool(), backoff=quick())
    sink.emit(start())
    sink.close()
    assert receiver.got[0][0]["Authorization"] == "Bearer s3cr3t-token"
    assert "s3cr3t" not in caplog.text + repr(hook)


@pytest.mark.parametrize(
    "url", ["", "ftp://host/", "file:///etc/passwd", "http://", "http://host:port/", "https://h/ä", "host"]
)
def test_a_bad_url_is_one_clear_line(url: str) -> None:
    with pytest.raises(InputError, match="--webhook"):
        Hook.parse(url)
