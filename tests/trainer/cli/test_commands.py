"""The command line of the trainer: what is asked of it wrongly is one line."""

from __future__ import annotations

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
