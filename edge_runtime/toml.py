"""TOML files that people write: read whole, or refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a file; ``what`` is how a message calls it.

    Raises:
        InputError: no such file, not UTF-8, no TOML, or brackets nested deeper than the parser goes.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {path} is not TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{what} {path} is not TOML that can be read: its brackets are nested too deep") from None
