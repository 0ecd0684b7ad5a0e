"""Broken files end cleanly: a few of each kind here, ten thousand by `python -m tests.fuzz --cases 10000`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.cli.run import main
from tests.fuzz import seeds
from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutate import damage, damage_text


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> seeds.Healthy:
    return seeds.make(tmp_path_factory.mktemp("healthy"))


@pytest.mark.parametrize("kind", ["model", "config", "video", "stream", "pictures"])
def test_the_files_are_good_before_they_are_broken(
    kind: str, healthy: seeds.Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that a case fails by its damage, not by its command line: undamaged, each ends with 0."""
    untouched: Callable[..., bytes] = lambda data, chance: data if isinstance(data, bytes) else data.encode()  # noqa: E731
    for name in ("damage", "damage_text", "_rewire"):
        monkeypatch.setattr(seeds, name, untouched)
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert main(seeds.KINDS[kind](healthy, folder, random.Random(seed))) == 0


def test_damage_is_repeatable_and_does_something() -> None:
    data, text = bytes(range(256)) * 8, "a = 1\nb = 2\n"
    for seed in range(50):
        assert damage(data, random.Random(seed)) == damage(data, random.Random(seed))
        assert damage_text(text, random.Random(seed)) == damage_text(text, random.Random(seed))
    assert sum(damage(data, random.Random(seed)) != data for seed in range(50)) > 45


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(seeds.KINDS))
def test_broken_files_end_cleanly(kind: str) -> None:
    ends, findings = fuzz([kind], first=0, cases=30)
    assert not findings, "\n".join(map(str, findings))
    assert sum(ends.values()) == 30
