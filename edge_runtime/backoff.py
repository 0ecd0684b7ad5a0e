"""How long to wait before the next attempt: doubled each time, up to a cap, and never the same for two devices."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays ``first_s``, 2·``first_s``, … ``cap_s``, each shortened at random by up to a half.

    Without the jitter, a hundred cameras that lost one broker together come back together, and lose it again.
    """

    def __init__(self, first_s: float = 1.0, cap_s: float = 60.0, jitter: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._jitter = jitter
        self._attempts = 0

    def next_s(self) -> float:
        """The delay before the next attempt."""
        # 2**32 s is beyond any cap; a larger exponent would leave the range of a float after months of attempts
        delay = min(self._cap_s, self._first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return delay * (1 - self._jitter() / 2)

    def reset(self) -> None:
        """It worked: begin anew with ``first_s``."""
        self._attempts = 0
