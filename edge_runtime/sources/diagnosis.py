"""Why a network stream does not open. OpenCV says only that it does not; the server is asked once, in its own protocol.

The answer tells what a retry can mend (nobody there, no stream at that path yet) from what it cannot (credentials that
are refused, a codec nobody here decodes). When in doubt it can.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from edge_runtime.errors import EdgeError, SourceLostError
from edge_runtime.redaction import redact
from edge_runtime.sources.base import SourceRefusedError

TIMEOUT_S = 3.0
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
# RTP payload names that FFmpeg decodes; anything else in a session description is a codec that it doesn't.
_DECODABLE = frozenset(
    {"H263", "H263-1998", "H264", "H265", "JPEG", "MP4V-ES", "MPV", "VP8", "VP9", "AV1", "MP2T", "RAW"}
)
_LONGEST_ANSWER = 1 << 16


def diagnose(url: str) -> EdgeError:
    """The error that says what is wrong with ``url``: SourceRefusedError where no retry helps, else SourceLostError."""
    parts = urlsplit(url)
    name = redact(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    try:
        if parts.scheme in ("rtsp", "rtsps"):
            return _judge_rtsp(name, parts, *_describe(parts, host, port))
        if parts.scheme in ("http", "https"):
            return _judge_status(name, parts, _http_status(parts))
        if parts.scheme != "udp":  # nobody answers there
            socket.create_connection((host, port), TIMEOUT_S).close()
    except socket.gaierror:
        return SourceLostError(f"{name}: the name {host} is not known; check the address and the network")
    except TimeoutError:
        return SourceLostError(f"{name}: no answer from {host} within {TIMEOUT_S:g} s; check that the camera is on")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return SourceLostError(f"{name}: {reason}; check the port and that the camera is on")
    except (ValueError, IndexError):
        return SourceLostError(f"{name}: what answers there does not speak {parts.scheme}")
    return _unclear(name)


def _judge_status(name: str, parts: SplitResult, status: int) -> EdgeError:
    if status in (401, 403):
        what = "refuses these credentials" if parts.username else "asks for credentials, USER:PASSWORD@ before the host"
        return SourceRefusedError(f"{name}: the server {what}")
    if status >= 400:
        return SourceLostError(f"{name}: the server has no stream at this path (status {status})")
    return _unclear(name)


def _judge_rtsp(name: str, parts: SplitResult, status: int, description: str) -> EdgeError:
    if status != 200:
        return _judge_status(name, parts, status)
    video = description.partition("m=video")[2].partition("\nm=")[0]
    codecs = [codec.upper() for codec in re.findall(r"a=rtpmap:\d+ ([^/\s]+)/", video)]
    if not video:
        return SourceRefusedError(f"{name}: the stream there has no video")
    if codecs and not _DECODABLE.intersection(codecs):
        return SourceRefusedError(f"{name}: its codec {codecs[0]} cannot be decoded; set the camera to H.264")
    return _unclear(name)


def _unclear(name: str) -> EdgeError:
    return SourceLostError(f"{name}: it answers, but no picture came")


def _describe(parts: SplitResult, host: str, port: int) -> tuple[int, str]:
    """Status and session description of an RTSP server, with the URL's credentials if it asks for some."""
    bare = urlunsplit((parts.scheme, f"{host}:{port}", parts.path, parts.query, ""))
    with socket.create_connection((host, port), TIMEOUT_S) as plain:
        plain.settimeout(TIMEOUT_S)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # cameras sign their own
        connection = context.wrap_socket(plain) if parts.scheme == "rtsps" else plain
        status, headers, body = _ask(connection, bare, 1, "")
        if status == 401 and parts.username is not None:
            authorization = _authorization(headers.get("www-authenticate", ""), parts, bare)
            status, headers, body = _ask(connection, bare, 2, f"Authorization: {authorization}\r\n")
        return status, body


def _ask(connection: socket.socket, url: str, sequence: int, extra: str) -> tuple[int, dict[str, str], str]:
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {sequence}\r\nAccept: application/sdp\r\n{extra}\r\n"
    connection.sendall(request.encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection, data)
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    length = min(int(headers.get("content-length", "0")), _LONGEST_ANSWER)
    while len(rest) < length:
        rest += _more(connection, rest)
    if not first.startswith("RTSP/"):
        raise ValueError("not RTSP")
    return int(first.split()[1]), headers, rest.decode("utf-8", "replace")


def _more(connection: socket.socket, so_far: bytes) -> bytes:
    chunk = connection.recv(4096)
    if not chunk or len(so_far) > _LONGEST_ANSWER:
        raise ValueError("the answer ends early, or never")
    return chunk


def _authorization(challenge: str, parts: SplitResult, url: str) -> str:
    """The answer to a Basic or Digest challenge (RFC 7617, RFC 2617)."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if challenge.lower().startswith("basic"):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    asked = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
    return _digest(asked, user, password, url)


def _digest(asked: Mapping[str, str], user: str, password: str, url: str) -> str:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    who, what = md5(f"{user}:{realm}:{password}"), md5(f"DESCRIBE:{url}")
    fields = f'username="{user}", realm="{realm}", nonce="{nonce}", uri="{url}"'
    if "auth" in asked.get("qop", ""):
        own = secrets.token_hex(8)
        proof = md5(f"{who}:{nonce}:00000001:{own}:auth:{what}")
        return f'Digest {fields}, response="{proof}", qop=auth, nc=00000001, cnonce="{own}"'
    return f'Digest {fields}, response="{md5(f"{who}:{nonce}:{what}")}"'


def _http_status(parts: SplitResult) -> int:
    netloc = parts.netloc.rpartition("@")[2]
    bare = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, bare, unquote(parts.username or ""), unquote(parts.password or ""))
    handlers = (urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords))
    try:
        with urllib.request.build_opener(*(handlers if parts.username else ())).open(bare, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None
