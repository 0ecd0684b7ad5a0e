"""Where an exported file's weights come from."""

from __future__ import annotations

import hashlib
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from edge_runtime.models.metadata import Provenance


def describe(
    checkpoint: str | Path | None,
    trained_on: str | None = None,
    licence: str | None = None,
    citation: str | None = None,
) -> Provenance:
    """Provenance of a file made now, by this process's command line, from ``checkpoint``."""
    digest = None
    if checkpoint is not None:
        with Path(checkpoint).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Provenance(
        checkpoint_sha256=digest,
        made_by=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        trained_on=trained_on,
        licence=licence,
        citation=citation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
