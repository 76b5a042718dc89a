"""The command line: parse, call, print.

Exit codes: 0, 1 (defects found, with ``--fail-on-defect``), 2 (usage or input error), 130
(interrupted). An error is one sentence on standard error; ``--debug`` shows its traceback. So is a
warning that the operations are slow.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EXIT_INPUT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    Args:
        arguments: the command line without the program's name; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: always, with the exit code.
    """
    from pyramidflow.cli.app import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:  # accepted anywhere, declared on the program
        given = ["--debug", *(argument for argument in given if argument != "--debug")]
    try:
        with _warnings_in_one_line():
            app(given, prog_name="pyramidflow")
    except Exception as error:  # whatever it is, exit code 1 is taken: it means defects found
        if debug:
            raise SystemExit(_with_traceback()) from error
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(EXIT_INPUT_ERROR)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    from pyramidflow.errors import SlowOperationsWarning

    usual = warnings.formatwarning

    def format_warning(
        message: Warning | str, category: type[Warning], *place: Any, **line: Any
    ) -> str:
        if issubclass(category, SlowOperationsWarning):
            return f"warning: {message}\n"
        return usual(message, category, *place, **line)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _with_traceback() -> int:
    import traceback

    traceback.print_exc()
    return EXIT_INPUT_ERROR


def _sentence(error: Exception) -> str:
    from pyramidflow.errors import InputError

    if isinstance(error, InputError):
        return str(error)
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {text} (--debug shows where)"
