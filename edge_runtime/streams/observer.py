"""How a stream tells the outside that a stage has ended, without knowing who asks or what the time is."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.models.session import Binding

Observer = Callable[[str], None]
"""Called as each stage ends with its name (``imfe.encoder``, ``imfe.motion``, ``imfe.appearance``, ``imfe.head``,
``imfe.clip``, ``rtstgcn``, ``lstr``), on the thread that called ``step``. A stage begins where ``step`` was called, or
where the one before it ended: between them lies nothing but handing a tensor on."""


def ignore(stage: str) -> None:
    """The observer of a stream that nobody watches."""


def run_stage(binding: Binding, stage: str, observer: Observer) -> None:
    """Run what is bound and tell the observer."""
    binding.run()
    observer(stage)
