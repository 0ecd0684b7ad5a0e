"""How every command ends: an error that the user can mend is one line on stderr and its exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

from edge_runtime.errors import EdgeError, InputError
from edge_runtime.support import missing_onnxruntime


def one_line_errors(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Decorate a command's ``main(argv) -> exit code``."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except EdgeError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except ImportError as error:
            if "onnxruntime" not in f"{error.name} {error.path} {error}":
                raise
            print(f"error: {missing_onnxruntime(error)}", file=sys.stderr)
            return InputError.exit_code
        except BrokenPipeError:  # the reader (head, less) has seen enough
            sys.stderr.close()
            return 0
        except OSError as error:  # of a path that an option names; anything else is a bug of ours, and shown whole
            if error.filename is None:
                raise
            print(f"error: {str(error.filename)[:100]}: {error.strerror}; check the path", file=sys.stderr)
            return InputError.exit_code

    return guarded
