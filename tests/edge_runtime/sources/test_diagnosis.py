"""Shows that a stream that does not open is told apart: gone, not there yet, refused, or of an unknown codec."""

from __future__ import annotations

import hashlib
import re
import socketserver
import threading
from contextlib import contextmanager

import pytest

from edge_runtime.errors import SourceLostError
from edge_runtime.sources.base import SourceRefusedError
from edge_runtime.sources.diagnosis import diagnose

SDP = "v=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {}/90000\r\n"


@contextmanager
def camera(answer):
    """A server whose ``answer`` maps a request's text to what is sent back."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            while True:
                data = b""
                while b"\r\n\r\n" not in data:
                    chunk = self.request.recv(4096)
                    if not chunk:
                        return
                    data += chunk
                self.request.sendall(answer(data.decode()).encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def rtsp(status, body="", headers=""):
    return f"RTSP/1.0 {status} X\r\nCSeq: 1\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"


def basic(request):
    return (
        rtsp(200, SDP.format("H264"))
        if "Authorization: Basic bWU6cEBzcw==" in request
        else rtsp(401, headers='WWW-Authenticate: Basic realm="camera"\r\n')
    )


def digest(qop):
    """A server that checks a digest of me:p@ss as RFC 2617 says."""

    def answer(request):
        sent = dict(re.findall(r'(\w+)="?([^",\r]*)"?', request.partition("Authorization: Digest")[2]))
        if sent:
            who = hashlib.md5(b"me:camera:p@ss").hexdigest()
            what = hashlib.md5(f"DESCRIBE:{sent['uri']}".encode()).hexdigest()
            middle = f"abc:{sent['nc']}:{sent['cnonce']}:auth" if qop else "abc"
            if sent["response"] == hashlib.md5(f"{who}:{middle}:{what}".encode()).hexdigest():
                return rtsp(200, SDP.format("H264"))
        return rtsp(401, headers=f'WWW-Authenticate: Digest realm="camera", nonce="abc"{qop}\r\n')

    return answer


@pytest.mark.parametrize("server", [basic, digest(""), digest(', qop="auth"')], ids=["basic", "digest", "digest qop"])
def test_credentials_that_are_taken_are_no_reason_and_those_that_are_not_are_final(server):
    with camera(server) as port:
        right = diagnose(f"rtsp://me:p%40ss@127.0.0.1:{port}/live")
        wrong = diagnose(f"rtsp://me:wrong@127.0.0.1:{port}/live")
        none = diagnose(f"rtsp://127.0.0.1:{port}/live")
    assert isinstance(right, SourceLostError)
    assert "it answers, but no picture came" in str(right)
    assert isinstance(wrong, SourceRefusedError)
    assert "refuses these credentials" in str(wrong)
    assert "wrong" not in str(wrong)
    assert isinstance(none, SourceRefusedError)
    assert "asks for credentials" in str(none)


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (rtsp(404), SourceLostError, "no stream at this path"),
        (rtsp(503), SourceLostError, "status 503"),
        (rtsp(200, SDP.format("X-SECRET-CODEC")), SourceRefusedError, "codec X-SECRET-CODEC cannot be decoded"),
        (rtsp(200, SDP.format("H265")), SourceLostError, "no picture came"),
        (rtsp(200, "v=0\r\nm=audio 0 RTP/AVP 97\r\n"), SourceRefusedError, "has no video"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", SourceLostError, "does not speak rtsp"),
        ("nonsense\r\n\r\n", SourceLostError, "does not speak rtsp"),
    ],
)
def test_what_the_server_says_is_what_is_reported(answer, kind, message):
    with camera(lambda _: answer) as port:
        error = diagnose(f"rtsp://127.0.0.1:{port}/live")
    assert type(error) is kind
    assert message in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, SourceRefusedError), (403, SourceRefusedError), (404, SourceLostError), (200, SourceLostError)],
)
def test_http_is_asked_too(status, kind):
    reply = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with camera(lambda _: reply) as port:
        assert type(diagnose(f"http://me:pw@127.0.0.1:{port}/stream.mjpg")) is kind


def test_a_host_nobody_knows_is_named():
    error = diagnose("rtsp://me:hunter2@no-such-camera.invalid/live")
    assert isinstance(error, SourceLostError)
    assert "no-such-camera.invalid is not known" in str(error)
    assert "hunter2" not in str(error)
