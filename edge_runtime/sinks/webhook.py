"""``--webhook http[s]://host/path``: each start, segment, fault and summary as an HTTP POST of its JSON.

Results are left out: a receiver that wants five a second wants MQTT or the event feed. An event counts as delivered
with any 2xx answer. 408, 425, 429, 5xx and no answer are tried again, later and later, in order, from the spool; any
other answer means that this event will never be taken: it is dropped and said. Redirects are not followed, because
the token would go with them. The header ``Idempotency-Key`` is the same for each attempt at one event.

``EDGE_WEBHOOK_TOKEN`` (or its file) is sent as ``Authorization: Bearer``; ``user:password@`` in the URL as Basic.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from edge_runtime import __version__
from edge_runtime.backoff import Backoff
from edge_runtime.errors import InputError
from edge_runtime.events import Event, Features, Result, to_json
from edge_runtime.redaction import expand_secrets, read_secret, redact, remember
from edge_runtime.sinks.spool import Message, Spool

TOKEN = "EDGE_WEBHOOK_TOKEN"
TIMEOUT_S = 5.0
_PARTING_S = 0.8
_TRY_AGAIN = {408, 425, 429}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where to post, and the ``Authorization`` to show."""

    host: str
    port: int | None
    tls: bool
    path: str
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """From a URL, ``${NAME}`` in it standing for a secret.

        Raises:
            InputError: not http or https, or no host.
        """
        url = expand_secrets(url)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InputError(redact(f"--webhook {url}: {error}")) from None
        if parts.scheme not in ("http", "https") or not host:
            raise InputError(redact(f"--webhook {url}: expected http[s]://host[:port]/path"))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise InputError(redact(f"--webhook {url}: percent-encode spaces and letters that are not ASCII"))
        token = read_secret(TOKEN)
        authorization = f"Bearer {token}" if token else None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + remember(base64.b64encode(pair.encode()).decode())
        return cls(host, port, parts.scheme == "https", path, authorization)

    def __str__(self) -> str:
        return f"{self.host}{'' if self.port is None else f':{self.port}'}"


class WebhookSink:
    """Posts in the background until `close`; a `Sink`."""

    name = "webhook"

    def __init__(self, hook: Hook, spool: Spool, camera: str | None = None, backoff: Backoff | None = None) -> None:
        """``camera`` is added to each event, where several share a receiver."""
        self._hook = hook
        self._camera = {} if camera is None else {"camera": camera}
        self._spool = spool
        self._backoff = backoff or Backoff()
        self._run_id = uuid.uuid4().hex[:12]  # numbers of a spool without a file begin anew with each run
        self._news = threading.Event()
        self._stop = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Raises OSError when the event could not be queued: the disk is full."""
        if not isinstance(event, Result | Features):
            key = f"{self._run_id}-{time.monotonic_ns()}"
            self._spool.put(key, redact(to_json(event)))
            self._news.set()

    def close(self) -> None:
        """Deliver what can be in under a second; the rest is logged and stays in the spool."""
        self._deadline = time.monotonic() + _PARTING_S
        self._stop.set()
        self._news.set()
        self._thread.join(timeout=_PARTING_S)
        self._spool.report_waiting(f"webhook {self._hook}")
        if not self._thread.is_alive():
            self._spool.close()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if not self._deliver_all() or self._stop.is_set():
                return

    def _deliver_all(self) -> bool:
        """Empty the spool; False when the run ends first."""
        lost_at: float | None = None
        while waiting := self._spool.after(0, 1):
            if time.monotonic() > self._deadline:
                return False
            refusal = self._post(waiting[0])
            if refusal is None:
                if lost_at is not None:
                    _log.info("webhook %s: takes events again after %.1f s", self._hook, time.monotonic() - lost_at)
                lost_at = None
                self._backoff.reset()
                self._spool.done(waiting[0].number)
                continue
            if lost_at is None:
                lost_at = time.monotonic()
                _log.warning("webhook %s: %s; events wait until it takes them", self._hook, redact(refusal))
            if self._stop.wait(self._backoff.next_s()):
                return False  # one attempt after the end was asked for would take longer than there is
        return True

    def _post(self, message: Message) -> str | None:
        """One attempt; why it must be repeated, None when it must not."""
        hook = self._hook
        left = min(TIMEOUT_S, max(0.1, self._deadline - time.monotonic()))
        connection = (
            http.client.HTTPSConnection(hook.host, hook.port, timeout=left, context=ssl.create_default_context())
            if hook.tls
            else http.client.HTTPConnection(hook.host, hook.port, timeout=left)
        )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-run/{__version__}",
            "Idempotency-Key": message.kind,
        }
        if hook.authorization is not None:
            headers["Authorization"] = hook.authorization
        try:
            body = json.dumps({"id": message.kind} | self._camera | json.loads(message.body)).encode()
            connection.request("POST", hook.path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        if 200 <= status < 300:
            return None
        if status in _TRY_AGAIN or status >= 500:
            return f"answered {status}"
        _log.error("webhook %s: answered %d, an event is dropped; check the URL and %s", hook, status, TOKEN)
        return None
