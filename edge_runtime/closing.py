"""``with`` for whatever is closed once: sources and streams."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closeable:
    """Closes at the end of a ``with`` block, whatever happened in it."""

    def close(self) -> None:
        """Let go of what is held: nothing but memory, unless the class says otherwise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
