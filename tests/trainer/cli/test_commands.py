"""The command line of the trainer: what is asked of it wrongly is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.cli import main


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["imfe", "dream"], "invalid choice: 'dream'"),
        (["imfe", "export"], "trainer imfe export --help"),
        (["rtstgcn", "export", "--bogus"], "required: --config"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["prepare", "hugadb", "--source", str(tmp_path), "--out", str(tmp_path / "file" / "data")]) == 2
    err = capsys.readouterr().err
    assert "Not a directory; check the path" in err
    assert err.count("\n") == 1


def test_help_shows_examples_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["costgcn", "train", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert "  trainer costgcn train --config config.json --data data/hugadb --out results --debug" in lines
