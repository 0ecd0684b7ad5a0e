"""The three ways a run can end badly, each with its exit code.

Every error that a user can cause is one of these; its message is one line that says what was expected, what was
found and how to mend it. Anything else that escapes is a bug of ours.
"""

from collections.abc import Callable


class EdgeError(Exception):
    """Base of the errors that the command line turns into one line and an exit code."""

    exit_code = 1


class InputError(EdgeError):
    """Something the user gave cannot be used: a file, an option, a model, a stream's content."""

    exit_code = 2


class SourceLostError(EdgeError):
    """The source stopped delivering and did not come back within the time allowed.

    ``stuck`` says whether a thread that it was read by still hangs in its driver.
    """

    exit_code = 3

    def __init__(self, message: str, stuck: Callable[[], bool] = lambda: False) -> None:
        super().__init__(message)
        self.stuck = stuck
