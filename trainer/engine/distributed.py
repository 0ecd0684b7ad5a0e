"""One process or many: the same code, the same numbers.

Under ``torchrun`` every process sees the same list of trials in a global batch, takes every ``world``-th of them, and
adds its gradients to the others' once per optimizer step. Each trial's loss is divided by the size of the *global*
batch beforehand, so the sum over processes is the gradient of one process, whatever the shard sizes: a last batch that
does not divide by the number of processes loses nothing and repeats nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# torch.optim imports this on first use, and its functions' defaults then hold the group of that moment for ever: gloo's
# threads outlived it into the interpreter's end, where one run in nine aborted. Imported here, before there is a group.
import torch.distributed.nn.functional
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among the processes of a run; ``device`` is where its network lives."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a global batch: disjoint from the others', together the whole."""
        return list(items[self.rank :: self.size])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in one message; a parameter without gradient counts as zero."""
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.reshape(-1) for p in trained if p.grad is not None])
        dist.all_reduce(flat)
        offset = 0
        for p in trained:
            p.grad = flat[offset : offset + p.numel()].view_as(p).clone()
            offset += p.numel()

    def mean_buffers(self, net: nn.Module) -> None:
        """Average the running statistics (BatchNorm's), which each process has gathered from its own trials."""
        if self.size == 1:
            return
        for buffer in net.buffers():
            if buffer.dtype.is_floating_point:
                dist.all_reduce(buffer)
                buffer /= self.size

    def gather(self, value: Any) -> list[Any]:
        """Every process's ``value``, in the order of ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def world(device: str | None = None) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or be alone without it.

    Args:
        device: ``cpu``, ``cuda``, ... ; by default the process's own GPU where there is one, else the CPU.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else kind)
    if size > 1:
        if place.type == "cuda":
            torch.cuda.set_device(place)
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        if size > 1:
            dist.destroy_process_group()
