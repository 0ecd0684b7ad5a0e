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
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from edge_runtime.errors import InputError
from edge_runtime.health import HealthMonitor, State
from edge_runtime.redaction import redact

_log = logging.getLogger(__name__)

_TICK_S = 1.0


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


class Supervisor:
    """A thread that tells systemd and the log what the health monitor says, and reloads files on SIGHUP.

    READY goes out with the run's start event, not with the first frame: a camera that is unplugged at boot must not
    make systemd kill the service that waits for it.
    """

    def __init__(
        self,
        health: HealthMonitor,
        notifier: Notifier | None = None,
        reload: Callable[[], None] | None = None,
        camera: str | None = None,
    ) -> None:
        """``reload`` may raise InputError. ``camera`` is said with each state, where one process has several."""
        self._said = "" if camera is None else f"{camera}: "
        self._health = health
        self._notifier = notifier or Notifier()
        self.reloads = [] if reload is None else [reload]  # what SIGHUP reads again; any may be added before the start
        self._hangup = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Start. Only the main thread may install a signal handler; on another, SIGHUP is for `hang_up`'s caller."""
        if self.reloads and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, lambda *_: self.hang_up())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=1)
        self._notifier.send(STOPPING=1)

    def hang_up(self) -> None:
        """Reload, soon."""
        self._hangup.set()

    def _run(self) -> None:
        tick_s = min(_TICK_S, (self._notifier.watchdog_s or _TICK_S * 2) / 2)
        told: State | None = None
        ready = False
        while not self._stop.wait(tick_s):
            if self._hangup.is_set():
                self._hangup.clear()
                self._reload_now()
            state = self._health.state()
            if self._health.started and not ready:
                ready = True
                self._notifier.send(READY=1)
            elif not ready:  # models are loading: ask for as long again as systemd waits between two ticks
                self._notifier.send(EXTEND_TIMEOUT_USEC=round(30e6))
            if self._health.advanced():
                self._notifier.send(WATCHDOG=1)
            if state is not told:
                _log.log(
                    logging.WARNING if told and not state.ready else logging.INFO, "health: %s%s", self._said, state
                )
                self._notifier.send(STATUS=f"{self._said}{state}")
                told = state

    def _reload_now(self) -> None:
        self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        for reload in self.reloads:
            try:
                reload()
            except InputError as error:  # a slip in an edited file must not end a running camera
                _log.error("%skept as it was: %s", self._said, error)
        self._notifier.send(READY=1)
