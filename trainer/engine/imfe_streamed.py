"""Clips scored as a device would name them: through ``edge-run``, line by line. No torch here."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.cli import run as edge_run
from edge_runtime.errors import InputError
from trainer.data.clips import Clip


@dataclass(frozen=True, slots=True)
class Named:
    """What ``edge-run`` said of one clip: the scores of each label summed over its result lines, best first."""

    clip: Clip
    totals: tuple[tuple[str, float], ...]
    results: int

    def label(self, background: str | None) -> str:
        """The label with the largest sum, ``background`` left out; empty for a clip too short for any result."""
        return next((label for label, _ in self.totals if label != background), "")


def name_clip(clip: Clip, model: Path) -> Named:
    """``edge-run --video CLIP --model MODEL --out FILE``, read back.

    Raises:
        InputError: ``edge-run`` refused the clip or the model, with its words.
    """
    totals: dict[str, float] = defaultdict(float)
    results = 0
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder) / "events.jsonl", io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = edge_run.main(["--video", str(clip.path), "--model", str(model), "--out", str(out)])
        if code:
            raise InputError(f"edge-run --video {clip.path}: {said.getvalue().strip()[-300:]}")
        for line in out.read_text("utf-8").splitlines():
            event = json.loads(line)
            if event["event"] == "result":
                results += 1
                for label, score in event["top"]:
                    totals[label] += score
    return Named(clip, tuple(sorted(totals.items(), key=lambda item: -item[1])), results)


def accuracy(named: Iterable[Named], background: str | None) -> float:
    """Share of the clips of real actions that are named rightly; NaN without any."""
    hits = [n.label(background) == n.clip.label for n in named if n.clip.label != background]
    return float(np.mean(hits)) if hits else float("nan")


def confusion(named: Iterable[Named], labels: Sequence[str], background: str | None) -> npt.NDArray[np.int64]:
    """Clips by true (rows) and given (columns) label, the background's clips left out."""
    index = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for n in named:
        given = n.label(background)
        if n.clip.label != background and given:
            counts[index[n.clip.label], index[given]] += 1
    return counts
