"""The queue between capture and inference: who waits, who gives way, and that every frame is accounted for."""

from __future__ import annotations

import threading

import pytest

from edge_runtime.pipeline.accounting import Account, AccountingError
from edge_runtime.pipeline.handover import Handover
from edge_runtime.pipeline.policy import Governor, PolicyName, choose
from tests.edge_runtime.pipeline.fakes import frame


def handover(policy: PolicyName) -> tuple[Handover, Account]:
    account = Account()
    return Handover(account, Governor(choose(policy, live=True, hop=6, clip_length=6), 10**9)), account


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


def test_an_account_that_does_not_add_up_is_refused() -> None:
    account = Account()
    account.captured()
    with pytest.raises(AccountingError, match="captured != processed"):
        account.close()
