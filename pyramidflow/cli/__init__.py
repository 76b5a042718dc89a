"""The command line: parse, call, print.

Exit codes: 0, 1 (defects found, with ``--fail-on-defect``), 2 (usage or input error), 130
(interrupted). An error is one sentence on standard error; ``--debug`` shows its traceback.
"""

import sys
from collections.abc import Sequence

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
        app(given, prog_name="pyramidflow")
    except Exception as error:  # whatever it is, exit code 1 is taken: it means defects found
        if debug:
            raise SystemExit(_with_traceback()) from error
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(EXIT_INPUT_ERROR)


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
