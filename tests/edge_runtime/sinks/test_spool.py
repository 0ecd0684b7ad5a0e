"""The spool keeps what it was given until it was received, within its bound, through crashes and damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_runtime.sinks.spool import Spool, spool_path


def bodies(spool: Spool) -> list[str]:
    return [message.body for message in spool.after(0, 1000)]


def test_messages_stay_until_done_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    numbers = [spool.put("event", str(n)) for n in range(5)]
    spool.done(numbers[1])
    spool.done(numbers[1])
    spool.close()
    again = Spool(tmp_path / "s")
    assert bodies(again) == ["0", "2", "3", "4"]
    assert again.waiting == 4
    assert again.put("event", "5") > numbers[-1]


def test_the_oldest_makes_room_and_is_counted() -> None:
    spool = Spool(limit=3)
    for n in range(5):
        spool.put("event", str(n))
    assert bodies(spool) == ["2", "3", "4"]
    assert (spool.waiting, spool.lost) == (3, 2)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.spool").write_bytes(content)
    spool = Spool(tmp_path / "s.spool")
    spool.put("event", "x")
    assert bodies(spool) == ["x"]
    assert (tmp_path / "s.broken").exists()


def test_a_place_that_cannot_be_written_costs_persistence_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "missing" / "s.spool")
    spool.put("event", "x")
    assert bodies(spool) == ["x"]


def test_a_killed_process_loses_nothing_that_was_put(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from edge_runtime.sinks.spool import Spool
spool = Spool(Path({str(tmp_path / "s")!r}))
for n in range(200): spool.put("event", str(n))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert bodies(Spool(tmp_path / "s")) == [str(n) for n in range(200)]


def test_threads_share_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")

    def work() -> None:
        for _ in range(50):
            spool.done(spool.put("event", "x"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.waiting == 0
    assert bodies(spool) == []


def test_the_file_lies_where_the_service_manager_says() -> None:
    assert spool_path(None, "mqtt") is None
    assert spool_path("/var/lib/edge:/other", "mqtt") == Path("/var/lib/edge/mqtt.spool")


def test_a_disk_that_cannot_be_read_stops_no_thread(tmp_path: Path) -> None:
    """Shows that the sender finds nothing for now, where it would otherwise end for the rest of the run."""
    spool = Spool(tmp_path / "s")
    spool.put("event", "0")
    spool.close()
    assert spool.after(0, 10) == []
