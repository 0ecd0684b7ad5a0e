"""Events as JSON Lines: one object a line, each line written whole or not at all.

A line is one write, straight to the file: whoever follows it sees the event at once, and a killed process leaves no
half line. When the disk is full the part that was written is taken back, and the next event tries again.

A live source runs for months and is restarted by others, so its file *lasts*: a new run continues it, and at
`ROTATE_BYTES` it becomes ``FILE.1``, that one ``FILE.2``, … up to `KEPT`; 320 MB in all, a month of results at 5 a
second. A run over a recording begins its file anew and never rotates it: there the whole is what was asked for.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from edge_runtime.errors import InputError
from edge_runtime.events import Event, to_json

ROTATE_BYTES = 64 << 20
KEPT = 4


class JsonLines:
    """``FILE``, or ``-`` for standard output; ``lasting`` as above.

    Raises:
        InputError: the file cannot be written.
    """

    name = "jsonl"

    def __init__(self, target: str, *, lasting: bool = False) -> None:
        self._target = target
        try:
            if target == "-":
                sys.stdout.flush()
                self._file = os.dup(sys.stdout.fileno())
            else:
                self._file = _open(target, os.O_CREAT if lasting else os.O_CREAT | os.O_TRUNC)
        except OSError as error:
            raise InputError(f"--out {target}: cannot write: {error.strerror}") from None
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._rotates = lasting and target != "-" and self._regular
        self._size = os.lseek(self._file, 0, os.SEEK_END) if self._rotates else 0
        self._broken_line = self._size > 0 and not _ends_whole(Path(target))

    def emit(self, event: Event) -> None:
        """Raises OSError when the line could not be written whole."""
        line = (to_json(event) + "\n").encode()
        if self._rotates and self._size and self._size + len(line) > ROTATE_BYTES:
            self._rotate()
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
        self._size += len(line)

    def _rotate(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            old = Path(f"{self._target}.{number}")
            if old.exists():
                old.replace(f"{self._target}.{number + 1}")
        Path(self._target).replace(f"{self._target}.1")
        new = _open(self._target, os.O_CREAT | os.O_TRUNC)
        os.close(self._file)
        self._file, self._size = new, 0

    def _take_back(self, written: int) -> None:
        """Remove a part of a line; from a pipe it cannot be removed, so the next line starts on its own."""
        if written and self._regular:
            end = os.lseek(self._file, -written, os.SEEK_CUR)
            os.ftruncate(self._file, end)
        elif written:
            self._broken_line = True

    def close(self) -> None:
        os.close(self._file)


def _open(target: str, how: int) -> int:
    return os.open(target, os.O_WRONLY | os.O_CLOEXEC | how, 0o644)


def _ends_whole(path: Path) -> bool:
    """False where a power cut has left half a line at the end."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
