"""What is closed once."""

from __future__ import annotations

import pytest

from edge_runtime.closing import Closeable


class Door(Closeable):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_with_block_closes_once_and_hides_no_error() -> None:
    """Shows that what happens in the block gets out, and the door is shut behind it."""
    door = Door()
    with pytest.raises(KeyError), door as same:
        assert same is door
        raise KeyError
    assert door.closed == 1
