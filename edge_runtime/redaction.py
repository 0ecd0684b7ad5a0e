"""Secrets stay secret: where they are read, and the one sanitiser that every text passes before it leaves us.

A camera's password travels in its URL, and URLs are echoed by everybody: our logs, a library's exception, a metric's
label, FFmpeg's "Did you mean file:rtsp://…". Two nets, because either alone has holes:

1. *Shape*: anything between ``scheme://`` and the last ``@`` of the same word, the value after ``token=`` and its
   kin, and after ``Authorization: Bearer``. Greedy on purpose: a password may hold ``@``, ``/`` and ``:``, and
   masking part of a path does no harm.
2. *Value*: every secret that was read (``remember``) is masked wherever it stands, as written, percent-encoded,
   decoded, and in the fragments that a confused URL parser makes of it ("cannot resolve host 'ss'").
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

from edge_runtime.errors import InputError

MASK = "***"

# Shorter fragments would mask ordinary words ("a", "of") all over a log; a whole secret has no such limit but one.
_SHORTEST_FRAGMENT = 4

_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*:/{1,2})[^\s'\"<>]*@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\",;]{4,}")
_NAMED = re.compile(
    r"(?i)\b((?:[a-z0-9]+[_-])*(?:token|password|passwd|pwd|secret|api[_-]?key|access[_-]?key|signature))"
    r"(['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s'\"&,;}]+)"
)
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DELIMITERS = re.compile(r"[@/:%?#&\s]+")

_known: tuple[str, ...] = ()  # longest first; replaced as a whole, so that readers need no lock
_known_lock = threading.Lock()


def remember(secret: str) -> str:
    """Mask ``secret`` in every text from now on; returns it unchanged. The empty string is no secret."""
    global _known
    forms = {secret, quote(secret, safe=""), quote(secret), unquote(secret), json.dumps(secret)[1:-1]}
    pieces = {piece for form in (secret, unquote(secret)) for piece in _DELIMITERS.split(form)}
    forms |= {piece for piece in pieces if len(piece) >= _SHORTEST_FRAGMENT}
    with _known_lock:
        _known = tuple(sorted({*_known, *forms} - {""}, key=len, reverse=True))
    return secret


def remember_url(url: str) -> str:
    """Remember the password of ``scheme://user:password@host/…``; returns the URL unchanged."""
    _, found, rest = url.partition("://")
    userinfo, at, _ = rest.rpartition("@")
    _, colon, password = userinfo.partition(":")
    if found and at and colon:
        remember(password)
    return url


def redact(text: str) -> str:
    """``text`` with every secret replaced by ``***``; what holds none comes back as it was."""
    for secret in _known:
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _NAMED.sub(rf"\1\2{MASK}", text)


def read_secret(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The secret ``name`` from, in this order, the variable ``NAME``, the file that ``NAME_FILE`` names, or the file
    ``name`` in systemd's ``$CREDENTIALS_DIRECTORY``; None where it is nowhere. Never from argv, which ``ps`` shows.

    Raises:
        InputError: the file cannot be read, or the secret is empty.
    """
    path = None
    if name in environ:
        secret, place = environ[name], f"environment variable {name}"
    else:
        if f"{name}_FILE" in environ:
            path = Path(environ[f"{name}_FILE"])
        elif "CREDENTIALS_DIRECTORY" in environ:
            path = Path(environ["CREDENTIALS_DIRECTORY"]) / name
            path = path if path.exists() else None
        if path is None:
            return None
        place = f"file {path}"
        try:
            secret = path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(f"secret {name}: cannot read {place}: {reason}") from None
    if not secret:
        raise InputError(f"secret {name}: {place} is empty; put the secret there or remove it")
    return remember(secret)


def expand_secrets(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """``url`` with each ``${NAME}`` replaced by that secret, percent-encoded: ``rtsp://me:${CAM_PASSWORD}@host/``.

    Credentials written out in the URL are accepted too, and remembered.

    Raises:
        InputError: a secret that is nowhere to be found.
    """

    def value(match: re.Match[str]) -> str:
        secret = read_secret(match[1], environ)
        if secret is None:
            raise InputError(
                f"secret {match[1]} is not set: export it, or name a file that holds it in {match[1]}_FILE"
            )
        return quote(secret, safe="")

    return remember_url(_PLACEHOLDER.sub(value, url))


class RedactingFilter(logging.Filter):
    """Redacts a record's message, arguments and traceback; belongs on handlers, so that libraries' records pass it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            record.exc_text, record.exc_info = redact(record.exc_text), None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def install() -> None:
    """Put the sanitiser on every handler of the root logger and on the two hooks for exceptions nobody caught."""
    logging.captureWarnings(True)
    for handler in logging.getLogger().handlers:
        if not any(isinstance(item, RedactingFilter) for item in handler.filters):
            handler.addFilter(RedactingFilter())
    sys.excepthook = _print_redacted
    threading.excepthook = lambda args: _print_redacted(args.exc_type, args.exc_value, args.exc_traceback)


def _print_redacted(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if kind is not SystemExit:  # a thread may end with it silently
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
