"""``--config site.toml``: several cameras in one process, sharing the models' weights.

::

    model = "ut-interaction"                # what every camera has, unless it says otherwise
    policy = "degrade"

    [camera.front]
    rtsp = "rtsp://${FRONT_USER}:${FRONT_PASSWORD}@10.0.0.5/stream"
    out = "front.jsonl"
    serve = "8081"

    [camera.yard]
    camera = "/dev/v4l/by-id/usb-yard"
    record = "yard.mp4"

Keys are the options of ``edge-run`` without their dashes; options on the command line hold for every camera too. All
are checked, and all models opened, before the first camera is. From then on each runs by itself: one that is away, or
that fails, does not touch the others, and one that is away is tried again for ever.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import EdgeError, InputError, SourceLostError
from edge_runtime.redaction import redact
from edge_runtime.toml import read_toml

if TYPE_CHECKING:
    from edge_runtime.cli.build import Prepared
    from edge_runtime.pipeline.clock import StopFlag
    from edge_runtime.pipeline.pipeline import Pipeline
    from edge_runtime.systemd import Ward

log = logging.getLogger(__name__)

_NOT_IN_A_SITE = ("config", "help", "version", "list-cameras")
_ONE_EACH = ("out", "record", "report", "trace", "serve")
# For all cameras together after a signal: each has its own bounds, this is for one that hangs while it is opened.
_END_S = 1.9
_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of a site and its options."""

    name: str
    options: argparse.Namespace


def read_site(path: Path, common: Sequence[str], parse: Callable[[list[str]], argparse.Namespace]) -> list[Camera]:
    """The cameras of a site file.

    Args:
        path: a TOML file as described above.
        common: options of the command line, which hold for every camera.
        parse: turns a command line into options.

    Raises:
        InputError: not TOML, no camera, an unknown or wrong option, or two cameras with one output.
    """
    table = read_toml(path, "--config")
    cameras = table.pop("camera", None)
    if not isinstance(cameras, dict) or not cameras or not all(isinstance(own, dict) for own in cameras.values()):
        raise InputError(f"--config {path}: expected a table [camera.NAME] for each camera")
    found = []
    for name, own in cameras.items():
        try:
            options = parse([*common, *_arguments({**table, **own})])
        except InputError as error:
            raise InputError(f"--config {path}: camera {name}: {error}") from None
        options.name = name
        found.append(Camera(name, options))
    _check_apart(path, found)
    return found


def _arguments(table: dict[str, Any]) -> list[str]:
    """``{"hop": 3, "demo": true}`` as ``["--hop=3", "--demo"]``."""
    arguments = []
    for key, value in table.items():
        if key in _NOT_IN_A_SITE or isinstance(value, dict | list):
            raise InputError(f"{key} has no place there; expected an option of edge-run, without its dashes")
        if value is not False:
            arguments.append(f"--{key}" if value is True else f"--{key}={value}")
    return arguments


def _check_apart(path: Path, cameras: Sequence[Camera]) -> None:
    for option in _ONE_EACH:
        values = Counter(str(v) for c in cameras if (v := getattr(c.options, option)) is not None)
        for value, count in values.items():
            if count > 1:
                raise InputError(f"--config {path}: {count} cameras have {option} = {value!r}; give each its own")


class Site:
    """The cameras, each on a thread of its own."""

    def __init__(self, cameras: Sequence[Camera], stop: StopFlag) -> None:
        """Open every camera's models.

        Raises:
            InputError: a camera's options or models cannot be used.
        """
        from edge_runtime.cli.build import prepare
        from edge_runtime.systemd import Ward

        self._stop = stop
        self._codes: dict[str, int] = {}
        self._pipelines: dict[str, Pipeline] = {}  # the last of each camera
        self._wards: list[Ward] = []
        self._threads = []
        for camera in cameras:
            try:
                prepared = prepare(camera.options)
            except InputError as error:
                raise InputError(f"camera {camera.name}: {error}") from None
            ward = Ward(prepared.reloads, camera.name)
            self._wards.append(ward)
            run = threading.Thread(target=self._run, args=(ward, prepared), name=camera.name, daemon=True)
            self._threads.append(run)

    def run(self) -> int:
        """Until every camera has ended; the exit code of the one that ended worst."""
        from edge_runtime.systemd import Supervisor

        with Supervisor(self._wards):
            for thread in self._threads:
                thread.start()
            while self._stop.reason is None and any(thread.is_alive() for thread in self._threads):
                time.sleep(0.05)
            until = time.monotonic() + _END_S
            for thread in self._threads:
                thread.join(max(0.0, until - time.monotonic()))
        return max(self._codes.values(), default=0)

    @property
    def hanging(self) -> bool:
        """A thread is stuck in a driver and will not let the process end."""
        return any(pipeline.hanging for pipeline in self._pipelines.values()) or any(
            thread.is_alive() for thread in self._threads
        )

    def _run(self, ward: Ward, prepared: Prepared) -> None:
        name = str(ward.name)
        while self._stop.reason is None:
            try:
                self._run_once(ward, prepared)
            except SourceLostError as error:
                log.warning("camera %s: %s; trying again in %g s", name, redact(str(error)), _RETRY_S)
                self._wait(ward, error.stuck)
                continue
            except EdgeError as error:
                log.error("camera %s: %s", name, redact(str(error)))
                self._codes[name] = error.exit_code
            except Exception:  # a bug of ours in one camera is shown whole, and the others run on
                log.exception("camera %s", name)
                self._codes[name] = 1
            return

    def _run_once(self, ward: Ward, prepared: Prepared) -> None:
        from edge_runtime.pipeline.clock import StopFlag

        ended = "failed"
        try:
            pipeline = self._pipelines[str(ward.name)] = prepared.open(StopFlag(self._stop), ward)
            pipeline.run()
            ended = "ended"
        finally:
            ward.absence, ward.health = ended, None

    def _wait(self, ward: Ward, stuck: Callable[[], bool]) -> None:
        """Until the next attempt. While a thread hangs in the driver there is none: it would hang beside it."""
        ward.absence = "away"
        until = time.monotonic() + _RETRY_S
        while self._stop.reason is None and time.monotonic() < until:
            time.sleep(0.05)
        if self._stop.reason is None and stuck():
            ward.absence = "stuck"
            log.error("camera %s: its driver is stuck; tried again when it lets go", ward.name)
            while self._stop.reason is None and stuck():
                time.sleep(0.05)
