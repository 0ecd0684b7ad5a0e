"""Events as JSON Lines: one object a line, each line written whole or not at all.

A line is one write, straight to the file: whoever follows it sees the event at once, and a killed process leaves no
half line. When the disk is full the part that was written is taken back, and the next event tries again.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.events import Event, to_json


class JsonLines:
    """``FILE``, begun anew, or ``-`` for standard output.

    Raises:
        InputError: the file cannot be written.
    """

    name = "jsonl"

    def __init__(self, target: str) -> None:
        try:
            if target == "-":
                sys.stdout.flush()
                self._file = os.dup(sys.stdout.fileno())
            else:
                self._file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(f"--out {target}: cannot write: {error.strerror}") from None
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._broken_line = False

    def emit(self, event: Event) -> None:
        """Raises OSError when the line could not be written whole."""
        line = (to_json(event) + "\n").encode()
        if self._broken_line:
            line = b"\n" + line
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            self._take_back(written)
            raise
        self._broken_line = False

    def _take_back(self, written: int) -> None:
        """Remove a part of a line; from a pipe it cannot be removed, so the next line starts on its own."""
        if written and self._regular:
            end = os.lseek(self._file, -written, os.SEEK_CUR)
            os.ftruncate(self._file, end)
        elif written:
            self._broken_line = True

    def close(self) -> None:
        os.close(self._file)


def check_folder(option: str, path: Path) -> None:
    """Raises InputError where the folder of an output does not exist."""
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
