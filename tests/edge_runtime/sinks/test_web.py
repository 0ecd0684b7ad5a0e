"""The web sink serves what it should, to whom it should, and nobody who looks can slow the run."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Fault
from edge_runtime.health import SOURCE_LOST
from edge_runtime.sinks import web
from edge_runtime.sinks.picture import Picture
from edge_runtime.sinks.web import Address, WebSink, serve_token
from tests.edge_runtime.sinks import browser
from tests.edge_runtime.sinks.live import FakeRun, result, start

TOKEN = "0123456789abcdef:@/%"


@pytest.fixture
def run() -> FakeRun:
    return FakeRun()


@pytest.fixture
def site(run: FakeRun) -> Iterator[WebSink]:
    sink = WebSink(Address("127.0.0.1", 0), run.telemetry)
    run.sinks.append(sink)
    yield sink
    sink.close()


@pytest.fixture
def guarded(run: FakeRun) -> Iterator[WebSink]:
    sink = WebSink(Address("127.0.0.1", 0), run.telemetry, TOKEN)
    run.sinks.append(sink)
    yield sink
    sink.close()


def get(site: WebSink, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", site.address.port, timeout=5)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def follow(site: WebSink, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", site.address.port, timeout=5)
    connection.request("GET", path)
    return connection.getresponse()


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, object]]:
    for line in response:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("8080", "127.0.0.1", 8080), ("0.0.0.0:80", "0.0.0.0", 80), ("[::1]:0", "::1", 0), ("pi.local:9", "pi.local", 9)],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "x", "8080x", ":80", "70000", "::1:80", "host:", "-1", "host:٣"])
def test_a_bad_address_is_one_clear_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--serve .*: (expected|write)"):
        Address.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(web.TOKEN, raising=False)
    assert serve_token(Address(host, 80)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pi.local", "127.0.0.1.example.org"])
def test_other_machines_need_a_token(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shows that nothing is served beyond this machine until a token that cannot be guessed is there."""
    monkeypatch.delenv(web.TOKEN, raising=False)
    with pytest.raises(InputError, match="a token is required"):
        serve_token(Address(host, 80))
    monkeypatch.setenv(web.TOKEN, "short")
    with pytest.raises(InputError, match="can be guessed"):
        serve_token(Address(host, 80))
    monkeypatch.delenv(web.TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv(f"{web.TOKEN}_FILE", str(tmp_path / "token"))
    assert serve_token(Address(host, 80)) == TOKEN


def test_a_port_in_use_is_one_clear_line(site: WebSink, run: FakeRun) -> None:
    with pytest.raises(InputError, match="cannot listen there: Address already in use"):
        WebSink(site.address, run.telemetry)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")],
)
def test_the_page_and_its_parts_are_served(site: WebSink, path: str, kind: str) -> None:
    response, body = get(site, path)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith(kind)
    assert body
    head, nothing = get(site, path, "HEAD")
    assert (head.status, nothing) == (200, b"")


def test_the_page_needs_nothing_from_elsewhere(site: WebSink) -> None:
    """Shows that the page works without internet: no part of it names another host."""
    for path in ("/", "/app.js", "/style.css"):
        body = get(site, path)[1].replace(b"http://www.w3.org/2000/svg", b"")  # a name, not an address
        assert not re.search(rb"https?:|wss?:|['\"(]//", body)


@pytest.mark.parametrize(
    "path",
    [
        "/../web.py",
        "/%2e%2e/web.py",
        "/..%2fweb.py",
        "//etc/passwd",
        "/etc/passwd",
        "/page/index.html",
        "/index.html/../../web.py",
        "/app.js/",
        "/\\..\\web.py",
    ],
)
def test_no_path_leads_out_of_the_page(site: WebSink, path: str) -> None:
    assert get(site, path)[0].status == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/nothing"])
def test_every_answer_carries_the_security_headers(site: WebSink, path: str) -> None:
    headers = get(site, path)[0].headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_page_only_reads(site: WebSink, method: str) -> None:
    assert get(site, "/", method)[0].status == 501


@pytest.mark.parametrize("path", ["/", "/app.js", "/stream.mjpg", "/events", "/metrics", "/nothing"])
def test_without_the_token_nothing_is_shown(guarded: WebSink, path: str) -> None:
    assert get(guarded, path)[0].status == 401
    assert get(guarded, path, Authorization="Bearer wrong")[0].status == 401
    assert get(guarded, path, Authorization="Basic !!!")[0].status == 401
    assert get(guarded, f"{path}?token={TOKEN}")[0].status == 401


def test_the_token_opens_by_bearer_and_by_basic(guarded: WebSink) -> None:
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    assert get(guarded, "/", Authorization=f"Bearer {TOKEN}")[0].status == 200
    assert get(guarded, "/", Authorization=f"Basic {basic}")[0].status == 200
    assert "Basic" in get(guarded, "/")[0].headers["WWW-Authenticate"]


def test_probes_answer_without_the_token_and_say_one_word(guarded: WebSink, run: FakeRun) -> None:
    response, body = get(guarded, "/readyz")
    assert (response.status, body) == (503, b"starting\n")
    assert get(guarded, "/livez")[0].status == 200
    run.play()
    response, body = get(guarded, "/readyz")
    assert (response.status, body) == (200, b"ok\n")


def test_a_reconnecting_source_is_alive_but_not_ready(site: WebSink, run: FakeRun) -> None:
    run.play()
    run.emit(Fault(SOURCE_LOST, 1.0))
    assert get(site, "/livez")[0].status == 200
    response, body = get(site, "/readyz")
    assert (response.status, body) == (503, b"starved\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "[", "a@127.0.0.1", ""])
def test_a_foreign_name_for_this_machine_is_refused(site: WebSink, host: str) -> None:
    """Shows that a web page elsewhere cannot reach the camera by pointing its own name at 127.0.0.1."""
    assert get(site, "/", Host=host)[0].status in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "[::1]:80"])
def test_the_machines_own_names_are_accepted(site: WebSink, host: str) -> None:
    assert get(site, "/", Host=host)[0].status == 200


def test_a_viewer_gets_the_picture_with_the_action_written_on_it(site: WebSink, run: FakeRun) -> None:
    run.emit(result(5, "kick"))
    response = follow(site, "/stream.mjpg")
    assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    run.frame(np.full((480, 640, 3), 255, np.uint8))
    assert response.readline() == b"--frame\r\n"
    response.readline()
    length = int(response.readline().split()[1])
    response.readline()
    picture = cv2.imdecode(np.frombuffer(response.read(length), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)
    assert picture[200:300].min() > 240  # the picture itself
    assert picture[:40, :300].min() < 120  # the label


def test_the_frame_given_is_not_painted_on(site: WebSink, run: FakeRun) -> None:
    """Shows that the overlay goes into a copy: the network may still be reading the frame."""
    image = np.full((480, 640, 3), 255, np.uint8)
    run.emit(result(5))
    response = follow(site, "/stream.mjpg")
    run.frame(image)
    response.readline()
    assert image.min() == 255


def test_the_feed_tells_a_late_comer_what_happened(site: WebSink, run: FakeRun) -> None:
    run.emit(start())
    run.play(2)
    told = events(follow(site, "/events"))
    first = [next(told) for _ in range(5)]
    assert [event["event"] for event in first] == ["status", "start", "result", "result", "segment"]
    assert first[0]["state"] == "ok"
    assert first[0]["frames"] == {"captured": 12, "processed": 12, "dropped": {}}


def test_a_feed_that_reconnects_resumes_where_it_was(site: WebSink, run: FakeRun) -> None:
    run.emit(start())
    run.emit(result(5))
    connection = http.client.HTTPConnection("127.0.0.1", site.address.port, timeout=5)
    connection.request("GET", "/events", headers={"Last-Event-ID": "1"})
    told = events(connection.getresponse())
    assert [next(told)["event"] for _ in range(2)] == ["status", "result"]
    connection = http.client.HTTPConnection("127.0.0.1", site.address.port, timeout=5)
    connection.request("GET", "/events", headers={"Last-Event-ID": "999"})  # of an earlier process
    told = events(connection.getresponse())
    assert [next(told)["event"] for _ in range(3)] == ["status", "start", "result"]


def test_no_secret_reaches_the_page(site: WebSink, run: FakeRun) -> None:
    run.emit(start("rtsp://admin:hunter2secret@cam/live"))
    run.emit(Fault("source-lost", 1.0, {"reason": "401 from rtsp://admin:hunter2secret@cam/live"}))
    told = events(follow(site, "/events"))
    assert "hunter2secret" not in json.dumps([next(told) for _ in range(3)])
    assert b"hunter2secret" not in get(site, "/metrics")[1]


def test_a_viewer_that_never_reads_holds_up_nobody(site: WebSink, run: FakeRun) -> None:
    """Shows that with viewers who never read, frames and events are taken as fast as ever, and others still watch."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)  # large JPEGs fill the sockets
    deaf = []
    for path in ("/stream.mjpg", "/events") * 3:
        peer = socket.create_connection(("127.0.0.1", site.address.port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deaf.append(peer)
    watching = follow(site, "/stream.mjpg")
    seen = threading.Semaphore(0)
    threading.Thread(
        target=lambda: [seen.release() for line in watching if line == b"--frame\r\n"], daemon=True
    ).start()
    slowest = 0.0
    for picture in range(10):
        while not seen.acquire(timeout=0.03):
            begun = time.perf_counter()
            run.frame(noise)
            run.emit(result(picture))
            slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < web.TIMEOUT_S / 10  # nothing ever waited for a peer
    for peer in deaf:
        peer.close()


def test_closing_is_quick_with_viewers_that_never_read(run: FakeRun) -> None:
    before = threading.active_count()
    site = WebSink(Address("127.0.0.1", 0), run.telemetry)
    run.sinks.append(site)
    peers = [socket.create_connection(("127.0.0.1", site.address.port)) for _ in range(4)]
    for peer in peers:
        peer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while site.picture.viewers < 4:
        time.sleep(0.01)
    run.frame()
    begun = time.monotonic()
    site.close()
    assert time.monotonic() - begun < 0.8 * web.TIMEOUT_S  # no peer was waited for
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
    for peer in peers:
        peer.close()


def test_connections_are_bounded_and_given_back(site: WebSink) -> None:
    """Shows that a flood of connections is cut at the limit, and that the site is there again afterwards."""
    peers = [socket.create_connection(("127.0.0.1", site.address.port)) for _ in range(web.MAX_CONNECTIONS + 8)]
    deadline = time.monotonic() + 60
    refused: set[socket.socket] = set()
    while len(refused) < 8:  # they are accepted in turn, so the eighth comes when all were
        assert time.monotonic() < deadline
        refused |= {peer for peer in peers if _was_cut(peer)}
    assert refused == set(peers[-8:])
    for peer in peers:
        peer.close()
    status = 0
    while status != 200 and time.monotonic() < deadline:
        try:
            status = get(site, "/livez")[0].status
        except (ConnectionError, http.client.HTTPException):
            time.sleep(0.1)
    assert status == 200


def _was_cut(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return not peer.recv(1)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"A" * 70000, b"\r\n"]
)
def test_garbage_is_no_traceback(site: WebSink, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", site.address.port)) as peer:
        peer.sendall(garbage)
        peer.shutdown(socket.SHUT_WR)
    assert get(site, "/livez")[0].status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_nothing_is_encoded_while_nobody_watches(site: WebSink, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows twenty frames for nobody, and then one for somebody: that one alone was encoded."""
    encoded: list[float] = []
    monkeypatch.setattr(site.picture, "_to_jpeg", lambda image, t: encoded.append(t) or b"")
    for _ in range(20):
        run.frame()
    with site.picture.watch() as number:
        run.frame()
        assert site.picture.next(number, 60) is not None
    assert encoded == [20 / 30]


def test_a_picture_that_cannot_be_encoded_is_told_and_the_next_one_shown(
    site: WebSink, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that the encoder's thread outlives its error, which `show` hands to whoever counts the sink's failures."""
    image = np.zeros((8, 8, 3), np.uint8)
    broken = threading.Event()

    def draw(*_: object) -> None:
        if not broken.is_set():
            broken.set()
            raise ValueError("no such colour")

    picture = Picture(draw)
    with picture.watch() as number:
        picture.show(image, 0.0)
        assert broken.wait(60)
        with pytest.raises(ValueError, match="no such colour"):
            while picture.next(number, 0.1) is None:
                picture.show(image, 1.0)
        assert picture.next(number, 60) is not None
    picture.close()


@pytest.mark.slow
@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (390, True)])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_works_in_a_real_browser(
    guarded: WebSink, run: FakeRun, tmp_path: Path, width: int, mobile: bool, dark: bool
) -> None:
    """Shows that the page logs in, plays, follows the run and its faults, and fits the screen, with nothing to report.

    EDGE_SCREENSHOTS=DIR keeps the pictures.
    """
    run.emit(start())
    stop = threading.Event()

    def play() -> None:
        while not stop.is_set():
            run.play()
            time.sleep(0.2)

    player = threading.Thread(target=play)
    player.start()
    try:
        with browser.chromium() as page:
            page.screen(width, 900, mobile=mobile, dark=dark)
            basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
            page.call("Network.enable")
            page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {basic}"})
            page.open(f"http://127.0.0.1:{guarded.address.port}/")
            page.wait_for("document.getElementById('picture').naturalWidth == 160")
            page.wait_for("document.getElementById('state').textContent == 'ok'")
            page.wait_for("document.getElementById('label').textContent == 'hug'")
            page.wait_for("document.querySelectorAll('#strip rect').length > 2")
            page.wait_for("document.getElementById('stages').textContent.includes('capture to result')")
            page.wait_for("document.getElementById('device').textContent.includes('61.5 °C')")
            run.emit(Fault(SOURCE_LOST, 9.0, {"reason": "no frame"}))
            page.wait_for("document.getElementById('faults').textContent.includes('source lost')")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            picture = tmp_path / f"{width}-{'dark' if dark else 'light'}.png"
            page.screenshot(picture)
            if "EDGE_SCREENSHOTS" in os.environ:
                (Path(os.environ["EDGE_SCREENSHOTS"]) / picture.name).write_bytes(picture.read_bytes())
            guarded.close()
            page.wait_for("document.getElementById('state').textContent == 'no connection'")
            assert not [text for text in page.problems if "ERR_CONNECTION" not in text and "INCOMPLETE" not in text]
    finally:
        stop.set()
        player.join()
