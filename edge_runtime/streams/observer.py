"""How a stream tells the outside what each stage took, without knowing who asks."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_runtime.models.session import Binding

Observer = Callable[[str, int, int], None]
"""Called after each stage with its name (``imfe.encoder``, ``imfe.motion``, ``imfe.head``, ``imfe.clip``,
``rtstgcn``), start and end in monotonic nanoseconds, on the thread that called ``step``."""


def ignore(stage: str, start_ns: int, end_ns: int) -> None:
    """The observer of a stream that nobody watches."""


def run_stage(binding: Binding, stage: str, observer: Observer) -> None:
    """Run what is bound and tell the observer."""
    start_ns = time.monotonic_ns()
    binding.run()
    observer(stage, start_ns, time.monotonic_ns())
