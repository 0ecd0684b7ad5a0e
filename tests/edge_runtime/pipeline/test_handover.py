"""The queue between capture and inference: who waits, who gives way, and that every frame is accounted for."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from edge_runtime.pipeline.accounting import Account, AccountingError
from edge_runtime.pipeline.clock import Clock, system_clock
from edge_runtime.pipeline.handover import Handover
from edge_runtime.pipeline.policy import Governor, PolicyName, choose
from tests.edge_runtime.pipeline.fakes import frame


class FakeClock:
    now = 0

    def __call__(self) -> int:
        return self.now


def handover(policy: PolicyName, *, live: bool = True, clock: Clock = system_clock) -> tuple[Handover, Account]:
    account = Account()
    governor = Governor(choose(policy, live=live, hop=6, clip_length=6), 10**9)
    return Handover(account, governor, live=live, clock=clock), account


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    queue, account = handover("drop-oldest")
    for index in range(5):
        assert queue.put(frame(index))
    taken = queue.take()
    assert taken is not None and taken.index == 4
    assert account.snapshot() == {"captured": 5, "processed": 0, "dropped": {"overload": 4}}


def test_block_makes_the_producer_wait_and_loses_nothing() -> None:
    queue, account = handover("block")
    producer = threading.Thread(target=lambda: [queue.put(frame(i)) for i in range(20)])
    producer.start()
    taken = []
    while len(taken) < 20:
        item = queue.take()
        if item is not None:
            taken.append(item.index)
    producer.join(5)
    assert taken == list(range(20))
    assert account.snapshot()["dropped"] == {}


def test_a_producer_that_waits_is_let_go_when_the_run_ends() -> None:
    queue, account = handover("block")
    accepted: list[bool] = []
    producer = threading.Thread(target=lambda: accepted.extend(queue.put(frame(i)) for i in range(4)))
    producer.start()
    while account.snapshot()["captured"] < 2:
        pass
    queue.abandon()
    producer.join(5)
    assert accepted == [True, True, False, False]
    assert account.close() == {"captured": 2, "processed": 0, "dropped": {"stopped": 2}}


def test_what_waits_at_the_end_of_the_stream_can_still_be_taken() -> None:
    queue, _ = handover("drop-oldest")
    queue.put(frame(0))
    queue.finish()
    assert not queue.over
    assert queue.take() is not None
    assert queue.over
    assert queue.take() is None


@pytest.mark.parametrize(("live", "age"), [(False, 3), (True, 103)])
def test_waiting_ages_a_camera_s_frame_and_not_a_file_s(live: bool, age: int) -> None:
    """Shows that of 3 ns of decoding and 100 ns in the queue a file's frame is 3 old, and a camera's 103."""
    clock = FakeClock()
    queue, _ = handover("block", live=live, clock=clock)
    clock.now = 1003
    queue.put(replace(frame(0), captured_ns=1000))
    clock.now = 1103
    taken = queue.take()
    assert taken is not None
    assert clock.now - taken.captured_ns == age


def test_a_file_that_is_held_back_is_not_late_for_it() -> None:
    """Shows that a frame that had to wait for room, and then in the queue, is as old as its decoding took."""
    clock, offered = FakeClock(), threading.Semaphore(0)

    def look() -> int:
        offered.release()
        return clock.now

    queue, _ = handover("block", live=False, clock=look)
    clock.now = 7
    producer = threading.Thread(target=lambda: [queue.put(replace(frame(i), captured_ns=0)) for i in range(3)])
    producer.start()
    for _ in range(3):
        assert offered.acquire(timeout=10)  # the third one too, for which there is no room yet
    clock.now = 1007
    ages = []
    while len(ages) < 3:
        taken = queue.take()
        if taken is not None:
            ages.append(clock.now - taken.captured_ns)
    producer.join(10)
    assert ages == [7, 7, 7]


def test_an_account_that_does_not_add_up_is_refused() -> None:
    account = Account()
    account.captured()
    with pytest.raises(AccountingError, match="captured != processed"):
        account.close()
