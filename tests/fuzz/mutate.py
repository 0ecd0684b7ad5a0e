"""Seeded damage to files: the same seed gives the same broken file, so that a finding can be repeated."""

from __future__ import annotations

import random
import struct

_NUMBERS = ("-1", "0", "1e999", "nan", "inf", "9" * 40, "1.5", "true", "null", "''", '""', "[]", "{}", "2147483648")
_PIECES = ("\0", "\n", "=", "[", "]", "{", "}", '"', "'", ",", "\\u0000", "ÿ", "[" * 2000, "../" * 8, "/etc/passwd")
_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def damage(data: bytes, chance: random.Random) -> bytes:
    """``data`` after one to six small accidents: what disks, cables and half-finished downloads do."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not broken:
            return bytes(chance.randbytes(chance.randrange(64)))
        at = chance.randrange(len(broken))
        length = min(chance.choice((1, 2, 4, 16, 256, 4096)), len(broken) - at)
        match chance.randrange(8):
            case 0:
                broken[at] ^= 1 << chance.randrange(8)
            case 1:
                broken[at : at + length] = chance.randbytes(length)
            case 2:
                del broken[at : at + length]
            case 3:
                broken[at:at] = broken[at : at + length]
            case 4:
                del broken[at:]
            case 5:
                word = struct.pack(chance.choice("<> ").strip() + "Q", chance.choice(_WORDS))
                broken[at : at + length] = word[: max(1, min(length, 8))]
            case 6:
                broken[at : at + length] = bytes(length)
            case _:
                to = chance.randrange(len(broken))
                broken[to : to + length] = broken[at : at + length]
    return bytes(broken)


def damage_text(text: str, chance: random.Random) -> bytes:
    """A text file after an edit gone wrong: values replaced by odd ones, lines lost, twice or cut; else `damage`."""
    if chance.random() < 0.3:
        return damage(text.encode(), chance)
    lines = text.splitlines()
    for _ in range(chance.choice((1, 1, 2, 4))):
        if not lines:
            break
        at = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3:
                key, equals, _ = lines[at].partition("=")
                lines[at] = f"{key}{equals} {chance.choice(_NUMBERS)}"
            case 4:
                words = lines[at].split(" ")
                words[chance.randrange(len(words))] = chance.choice(_NUMBERS)
                lines[at] = " ".join(words)
            case _:
                cut = chance.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:cut] + chance.choice(_PIECES) + lines[at][cut:]
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"
