"""An MP4 file that plays whenever its writer dies: half a second at a time, each a fragment of its own.

    ftyp moov | moof mdat | moof mdat | …          a file at any moment: whole but for what is being encoded

OpenCV completes an MP4 only when it closes it (the index comes last), and has no way to ask its FFmpeg for fragments.
So it encodes half a second into a small file of its own, in memory; the coded pictures are taken out of that and
appended here, with an index of their own in front. Boxes as in ISO/IEC 14496-12: a fragmented file in its section 8.8,
what OpenCV writes in 8.2 to 8.7. What a full disk leaves of a fragment is taken back.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

FRAGMENT_S = 0.5  # FFmpeg's MPEG-4 encoder begins anew every 12 pictures anyway: the file grows by nothing

_DEFAULT_BASE_IS_MOOF = 0x020000
_TRUN_FIELDS = 0x000001 | 0x000100 | 0x000200 | 0x000400  # data offset; of each picture duration, size, flags
_SYNC, _NOT_SYNC = 0x02000000, 0x01010000  # decodes by itself, or needs the pictures before it
_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_DURATION_AT = {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16}  # offsets in version 0; nothing is known yet, so 0
_EMPTY_TABLES = {b"stts": 8, b"stsc": 8, b"stsz": 12, b"stco": 8}  # bytes of a table without entries
_LEFT_OUT = (b"edts", b"udta", b"stss")


class FragmentedVideo:
    """Writes BGR pictures of ``size`` (width, height) at ``fps``.

    Raises:
        OSError: OpenCV cannot encode, or the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self._fps = fps
        self._size = size
        self._piece: _Piece | None = None
        self._fragments = 0
        self._time = 0  # where the next fragment begins, in the track's units
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def write(self, picture: npt.NDArray[np.uint8]) -> None:
        """Raises OSError when the fragment that this picture completes could not be written; it is left out."""
        if self._piece is None:
            self._piece = _Piece(self._fps, self._size)
        self._piece.write(picture)
        if self._piece.pictures >= self._fps * FRAGMENT_S:
            self._append_piece(self._piece)

    def close(self) -> None:
        """Raises OSError when the last fragment could not be written."""
        try:
            if self._piece is not None:
                self._append_piece(self._piece)
        finally:
            os.close(self._file)

    def _append_piece(self, piece: _Piece) -> None:
        self._piece = None
        coded = piece.finish()
        head = b"" if self._fragments else coded.head
        self._append(head + _fragment(self._fragments + 1, self._time, coded))
        self._fragments += 1
        self._time += sum(coded.durations)

    def _append(self, data: bytes) -> None:
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            os.lseek(self._file, end, os.SEEK_SET)
            os.ftruncate(self._file, end)
            raise


class _Piece:
    """Pictures in OpenCV's encoder, whose file has no name: whoever is killed leaves nothing behind."""

    def __init__(self, fps: float, size: tuple[int, int]) -> None:
        in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # an SD card need not be written twice
        self._file, name = tempfile.mkstemp(".mp4", "edge-run-", in_memory)
        try:
            self._encoder = open_video(Path(name), fps, size)
        except OSError:
            os.close(self._file)
            raise
        finally:
            Path(name).unlink()
        self.pictures = 0

    def write(self, picture: npt.NDArray[np.uint8]) -> None:
        self._encoder.write(picture)
        self.pictures += 1

    def finish(self) -> _Coded:
        self._encoder.release()
        with os.fdopen(self._file, "rb") as file:
            return _read(file.read())


def open_video(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """An encoder of pictures of ``size`` (width, height): MPEG-4 Part 2, the one that every build of OpenCV has.

    Raises:
        OSError: OpenCV cannot write there.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write {path}")
    return writer


@dataclass(frozen=True, slots=True)
class _Coded:
    """The coded pictures of a complete file with one track, and the head for a file of fragments of such."""

    head: bytes  # ftyp, moov
    pictures: bytes
    sizes: tuple[int, ...]
    durations: tuple[int, ...]
    keys: frozenset[int]


def _read(file: bytes) -> _Coded:
    """Raises OSError where OpenCV was built with an encoder that lays its file out in another way."""
    try:
        return _parse(file)
    except (KeyError, struct.error) as error:
        raise OSError(f"this OpenCV's MP4 cannot be cut into fragments: {error}") from None


def _parse(file: bytes) -> _Coded:
    moov = dict(_boxes(file))[b"moov"]
    tables = _tables(moov)
    count = _integers(tables[b"stsz"], 8, 1)[0]
    one_size = _integers(tables[b"stsz"], 4, 1)[0]
    sizes = (one_size,) * count if one_size else _integers(tables[b"stsz"], 12, count)
    runs = _integers(tables[b"stts"], 8, 2 * _integers(tables[b"stts"], 4, 1)[0])
    durations = tuple(d for number, d in zip(runs[::2], runs[1::2], strict=True) for _ in range(number))
    keys = (
        _integers(tables[b"stss"], 8, _integers(tables[b"stss"], 4, 1)[0]) if b"stss" in tables else range(1, count + 1)
    )
    begin = _integers(tables[b"stco"], 8, 1)[0]  # one track: its pictures lie one after the other
    head = _box(b"ftyp", b"iso5", bytes(4), b"iso5iso6mp41") + _emptied(b"moov", moov)
    return _Coded(head, file[begin : begin + sum(sizes)], sizes, durations, frozenset(key - 1 for key in keys))


def _fragment(number: int, time: int, coded: _Coded) -> bytes:
    entries = b"".join(
        struct.pack(">III", duration, size, _SYNC if i in coded.keys else _NOT_SYNC)
        for i, (duration, size) in enumerate(zip(coded.durations, coded.sizes, strict=True))
    )

    def moof(data_offset: int) -> bytes:
        run = struct.pack(">IIi", _TRUN_FIELDS, len(coded.sizes), data_offset) + entries
        track = (
            _box(b"tfhd", struct.pack(">II", _DEFAULT_BASE_IS_MOOF, 1)),
            _box(b"tfdt", struct.pack(">IQ", 1 << 24, time)),
            _box(b"trun", run),
        )
        return _box(b"moof", _box(b"mfhd", struct.pack(">II", 0, number)), _box(b"traf", *track))

    return moof(len(moof(0)) + 8) + _box(b"mdat", coded.pictures)


def _emptied(kind: bytes, content: bytes) -> bytes:
    """A box of a complete file as the head of a fragmented one: the same track, and no picture in it yet."""
    if kind in _EMPTY_TABLES:
        return _box(kind, bytes(_EMPTY_TABLES[kind]))
    if kind in _DURATION_AT:
        at = _DURATION_AT[kind]
        return _box(kind, content[:at], bytes(4), content[at + 4 :])
    if kind not in _CONTAINERS:
        return _box(kind, content)
    inner = [_emptied(name, inside) for name, inside in _boxes(content) if name not in _LEFT_OUT]
    if kind == b"moov":
        inner.append(_box(b"mvex", _box(b"trex", struct.pack(">IIIIII", 0, 1, 1, 0, 0, 0))))
    return _box(kind, *inner)


def _tables(moov: bytes) -> dict[bytes, bytes]:
    """The boxes of ``moov/trak/mdia/minf/stbl``."""
    content = moov
    for name in _CONTAINERS[1:]:
        content = dict(_boxes(content))[name]
    return dict(_boxes(content))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            raise struct.error(f"a box of {size} bytes")
        yield kind, data[at + 8 : at + size]
        at += size


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _integers(data: bytes, at: int, count: int) -> tuple[int, ...]:
    return tuple(struct.unpack_from(f">{count}I", data, at))
