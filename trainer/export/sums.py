"""The memory of a sliding sum as part of a step graph: ``sum - leaving + entering``.

The runtime gives ``leaving`` and ``entering`` the same memory, so what ``remaining`` makes has to be computed before
``entering`` is written: the writer of ``entering`` notes that in its graph's ``order``.
"""

from __future__ import annotations

from trainer.export.builder import Dim, GraphBuilder


def remaining(graph: GraphBuilder, index: int, shape: tuple[Dim, ...]) -> str:
    """Memory ``index``'s sum without the frame that leaves it; ``shape`` is a frame's."""
    running, leaving = (graph.input(f"{part}.{index}", shape) for part in ("sum", "leaving"))
    return graph.op("Sub", (running, leaving), f"layer{index}.remaining")


def total(graph: GraphBuilder, index: int, remaining: str, entering: str, shape: tuple[Dim, ...]) -> str:
    """The sum with the frame that enters it, and the graph's outputs of this memory."""
    out = graph.op("Add", (remaining, entering), f"sum.{index}.out")
    graph.op("Add", (graph.input(f"fresh.{index}", shape), entering), f"fresh.{index}.out")
    for output in (out, f"fresh.{index}.out", entering):
        graph.output(output, shape)
    return out
