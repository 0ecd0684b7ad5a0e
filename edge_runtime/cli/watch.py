"""The options by which others watch a run: ``--serve``, ``--mqtt``, ``--webhook``, and the service manager."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import InputError
from edge_runtime.toml import read_toml

if TYPE_CHECKING:  # as in run.py: --help needs none of these
    from edge_runtime.health import HealthMonitor, Thresholds
    from edge_runtime.pipeline.accounting import Account
    from edge_runtime.pipeline.monitor import StageMonitor
    from edge_runtime.sinks.base import Sink
    from edge_runtime.sinks.spool import Spool
    from edge_runtime.telemetry import Telemetry

_log = logging.getLogger(__name__)


def add_watch_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("watching", "passwords and tokens: ${NAME} in a URL, environment, or NAME_FILE")
    group.add_argument("--serve", metavar="[HOST:]PORT", help="web page, picture, health and metrics (127.0.0.1)")
    group.add_argument("--mqtt", metavar="URL", help="mqtt[s]://[user@]host[:port][/prefix]; Home Assistant finds it")
    group.add_argument("--webhook", metavar="URL", help="POST each start, segment, fault and summary as JSON")


@dataclass
class Watching:
    """Sinks for the pipeline, and who knows how it is doing, where somebody asks."""

    sinks: list[Sink] = field(default_factory=list)
    health: HealthMonitor | None = None


def read_health(budgets: Path | None) -> Thresholds:
    """The ``[health]`` table of the budgets file; defaults where there is none.

    Raises:
        InputError: the file or a threshold cannot be read.
    """
    from edge_runtime.health import Thresholds

    if budgets is None:
        return Thresholds()
    table = read_toml(budgets, "budgets file").get("health", {})
    if not isinstance(table, dict):
        raise InputError(f"budgets file {budgets}: [health] must be a table, found {table!r}")
    return Thresholds.parse(table)


class WatchOptions:
    """The options, checked before anything is opened: a wrong one must not wait for a model to load.

    Raises:
        InputError: an address, URL or secret that cannot be used.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._camera: str | None = getattr(options, "name", None)  # of a site
        self._budgets: Path | None = options.budgets
        self._thresholds = read_health(options.budgets)
        self._health: HealthMonitor | None = None  # of the run that was opened last
        self._serve = self._mqtt = self._webhook = None
        if options.serve is not None:
            from edge_runtime.sinks.web import Address, serve_token

            address = Address.parse(options.serve)
            self._serve = (address, serve_token(address))
        if options.mqtt is not None:
            try:
                from edge_runtime.sinks.mqtt import Broker
            except ImportError:
                raise InputError("--mqtt needs paho-mqtt; pip install 'edge-action[mqtt]'") from None
            self._mqtt = Broker.parse(options.mqtt)
            if self._camera is not None:
                self._mqtt = replace(self._mqtt, prefix=f"{self._mqtt.prefix}/{self._camera}")
        if options.webhook is not None:
            from edge_runtime.sinks.webhook import Hook

            self._webhook = Hook.parse(options.webhook)

    @property
    def watched(self) -> bool:
        """Somebody asks how the run is doing."""
        return bool(self._serve or self._mqtt) or "NOTIFY_SOCKET" in os.environ

    def reload(self) -> None:
        """Read the thresholds again, for this run and those that follow.

        Raises:
            InputError: as `read_health`.
        """
        self._thresholds = read_health(self._budgets)
        if self._health is not None:
            self._health.thresholds = self._thresholds
        _log.info("thresholds reloaded")

    def open(self, monitor: StageMonitor, account: Account) -> Watching:
        """Begin to serve and to connect.

        Raises:
            InputError: the address cannot be listened on.
        """
        watching = Watching()
        if self.watched:
            self._watch(watching, monitor, account)
        if self._webhook:
            from edge_runtime.sinks.webhook import WebhookSink

            watching.sinks.append(WebhookSink(self._webhook, self._spool("webhook"), self._camera))
        return watching

    def _spool(self, sink: str) -> Spool:
        """On disk where systemd gives a place for it, in memory elsewhere."""
        from edge_runtime.sinks.spool import Spool, spool_path

        name = sink if self._camera is None else f"{sink}-{self._camera}"
        return Spool(spool_path(os.environ.get("STATE_DIRECTORY"), name))

    def _watch(self, watching: Watching, monitor: StageMonitor, account: Account) -> None:
        from edge_runtime.health import HealthMonitor
        from edge_runtime.report.device import Device
        from edge_runtime.telemetry import Telemetry, recent_miss_ratio

        logging.getLogger("edge_runtime").setLevel(logging.INFO)  # a service says what it does
        telemetry: Telemetry
        health = HealthMonitor(
            lambda: account.newest_ns,
            self._thresholds,
            miss_ratio=lambda: recent_miss_ratio(monitor),
            throttled=lambda: bool(telemetry.device().throttled),
        )
        telemetry = Telemetry(monitor, account, health, Device().read)
        if self._serve:
            from edge_runtime.sinks.web import WebSink

            watching.sinks.append(WebSink(self._serve[0], telemetry, self._serve[1]))
        if self._mqtt:
            from edge_runtime.sinks.mqtt import MqttSink

            watching.sinks.append(MqttSink(self._mqtt, telemetry, self._spool("mqtt")))
        watching.sinks.append(telemetry)
        watching.health = self._health = health
