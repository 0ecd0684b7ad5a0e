"""What the commands' options have in common: wrong ones are one line, and numbers are checked as they are read."""

from __future__ import annotations

import argparse
import math
from typing import Any, NoReturn

from edge_runtime.errors import InputError

MOST_THREADS = 1024


class _Help(argparse.HelpFormatter):
    """Wraps descriptions, and leaves examples as they are written: one a line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:\n") else super()._fill_text(text, width, indent)


class OneLineParser(argparse.ArgumentParser):
    """A wrong option is one line like every other error; the usage is a page."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def add_engine_options(group: argparse._ArgumentGroup) -> None:
    """How a model is run, wherever one is."""
    group.add_argument("--head", metavar="FILE|none", help="names actions; default: rtstgcn.onnx, lstr.onnx beside it")
    group.add_argument("--hop", metavar="N", type=whole_number, help="frames from one result to the next")
    group.add_argument("--threads", metavar="N|auto", type=threads_or_auto, help="per operator (default auto)")
    group.add_argument("--spin", action="store_true", help="waiting threads loop: sooner, and cores never sleep")
    group.add_argument(
        "--provider",
        metavar="NAME|auto",
        type=provider,
        default="cpu",
        help="onnxruntime's: cpu, cuda, … (default cpu)",
    )


def whole_number(text: str) -> int:
    """Above 0."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return value


def thread_count(text: str) -> int:
    """1 to `MOST_THREADS`; onnxruntime takes what a C int holds, and tries to start as many."""
    value = whole_number(text)
    if value > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 to {MOST_THREADS}, found {text[:40]!r}")
    return value


def threads_or_auto(text: str) -> int | None:
    """None for ``auto``: found by running the model."""
    return None if text == "auto" else thread_count(text)


def provider(text: str) -> str:
    """A name, ``auto`` as the one for this machine."""
    if text != "auto":
        return text
    from edge_runtime.models.session import best_provider  # half a second, and only here

    return best_provider()


def positive(text: str) -> float:
    """Above 0, and finite."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value
