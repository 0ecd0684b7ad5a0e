"""The service manager's side of health: ``Type=notify`` readiness, status line, and a watchdog tied to progress.

The protocol is one datagram of ``NAME=value`` lines to the socket in ``$NOTIFY_SOCKET`` (sd_notify(3)); no library
is needed. Where the variable is missing nothing is sent, so the same code runs from a shell.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edge_runtime.errors import InputError
from edge_runtime.health import HealthMonitor, State
from edge_runtime.redaction import redact

_log = logging.getLogger(__name__)

_TICK_S = 1.0
OPENING = "opening"  # no run yet, and none was refused
_WELL = {state for state in State if state.ready} | {OPENING}


class Notifier:
    """Sends sd_notify messages; silent when not started by systemd."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        microseconds = environ.get("WATCHDOG_USEC", "")
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and for_us else None

    def send(self, **fields: str | int) -> None:
        """One message, ``send(READY=1, STATUS="ok")``. A manager that is gone is not our failure."""
        if not self._address:
            return
        message = "\n".join(f"{name}={redact(str(value))}" for name, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError as error:
                _log.debug("systemd does not listen: %s", error)


@dataclass(slots=True)
class Ward:
    """A camera as its supervisor sees it. Whoever runs it keeps ``health`` and ``absence`` true."""

    reloads: Sequence[Callable[[], None]] = ()  # what SIGHUP reads again; each may raise InputError
    name: str | None = None  # where one process has several
    health: HealthMonitor | None = None  # of its run, while there is one
    absence: str = OPENING  # why there is no run

    @property
    def state(self) -> str:
        """One word for the log and the manager's status."""
        return self.absence if self.health is None else self.health.state()

    @property
    def settled(self) -> bool:
        """It has begun to run, or cannot: nothing is left to wait for at the start."""
        return self.absence != OPENING if self.health is None else self.health.started

    def advanced(self) -> bool:
        """See `HealthMonitor.advanced`; without a run there is nothing that could hang."""
        return self.health is None or self.health.advanced()


class Supervisor:
    """A thread that tells systemd and the log how the cameras are doing, and reloads files on SIGHUP.

    READY goes out when each camera's run has started or was found impossible, and not with the first frame: a camera
    that is unplugged at boot must not make systemd kill the service that waits for it. The watchdog is fed while
    *every* camera advances or has a reason not to: a network that hangs is mended by a restart only, and one healthy
    camera must not hide it.
    """

    def __init__(self, wards: Sequence[Ward], notifier: Notifier | None = None) -> None:
        self._wards = wards
        self._notifier = notifier or Notifier()
        self._hangup = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Start, on the main thread: only that one may install a signal handler."""
        signal.signal(signal.SIGHUP, lambda *_: self._hangup.set())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=1)
        self._notifier.send(STOPPING=1)

    def _run(self) -> None:
        tick_s = min(_TICK_S, (self._notifier.watchdog_s or _TICK_S * 2) / 2)
        told: list[str | None] = [None] * len(self._wards)
        ready = False
        while not self._stop.wait(tick_s):
            if self._hangup.is_set():
                self._hangup.clear()
                self._reload_now()
            if not ready and all(ward.settled for ward in self._wards):
                ready = True
                self._notifier.send(READY=1)
            elif not ready:  # a source may take long to answer: ask for as long again as it is given
                self._notifier.send(EXTEND_TIMEOUT_USEC=round(30e6))
            advanced = [ward.advanced() for ward in self._wards]  # each is asked, and remembers what it had
            if all(advanced):
                self._notifier.send(WATCHDOG=1)
            states = [ward.state for ward in self._wards]
            if states != told:
                self._tell(told, states)
                told = [*states]

    def _tell(self, before: Sequence[str | None], now: Sequence[str]) -> None:
        """What has changed to the log, all of it to the manager."""
        for ward, was, state in zip(self._wards, before, now, strict=True):
            if state != was:
                worse = was is not None and state not in _WELL
                _log.log(logging.WARNING if worse else logging.INFO, "health: %s%s", _of(ward), state)
        said = [f"{_of(ward)}{state}" for ward, state in zip(self._wards, now, strict=True)]
        self._notifier.send(STATUS=", ".join(said))

    def _reload_now(self) -> None:
        self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        for ward in self._wards:
            for reload in ward.reloads:
                try:
                    reload()
                except InputError as error:  # a slip in an edited file must not end a running camera
                    _log.error("%skept as it was: %s", _of(ward), error)
        self._notifier.send(READY=1)


def _of(ward: Ward) -> str:
    return "" if ward.name is None else f"{ward.name}: "
