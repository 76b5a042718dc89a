"""The command line: parse, call, print.

Exit codes: 0, 1 (defects found, with ``--fail-on-defect``), 2 (usage or input error), 130
(interrupted, by Ctrl-C or a termination request). An error is one sentence on standard error;
``--debug`` shows its traceback. A warning is one line there, too.
"""

import sys
import traceback
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
    from pyramidflow.cli.streams import lasting_streams

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:  # accepted anywhere, declared on the program
        given = ["--debug", *(argument for argument in given if argument != "--debug")]
    with lasting_streams() as output_failure:
        code = _run(given, debug)
        failure = output_failure()
        if failure is not None and code == 0:
            reason = f"standard output could not be written ({failure.strerror})"
            print(f"error: {reason}: write it to another place.", file=sys.stderr)
            code = EXIT_INPUT_ERROR
    sys.exit(code)


def _run(given: Sequence[str], debug: bool) -> int:
    from pyramidflow.cli.app import app
    from pyramidflow.interrupt import termination_as_ctrl_c

    try:
        with termination_as_ctrl_c(), _warnings_in_one_line():
            app(given, prog_name="pyramidflow")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # whatever it is, exit code 1 is taken: it means defects found
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {_sentence(error)}", file=sys.stderr)
        return EXIT_INPUT_ERROR
    return 0


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    from pyramidflow.errors import PyramidFlowWarning
    from pyramidflow.io.names import printable

    usual = warnings.formatwarning

    def format_warning(
        message: Warning | str, category: type[Warning], *place: Any, **line: Any
    ) -> str:
        if issubclass(category, PyramidFlowWarning):
            return f"warning: {printable(message)}\n"
        return usual(message, category, *place, **line)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _sentence(error: Exception) -> str:
    from pyramidflow.errors import InputError
    from pyramidflow.io.names import printable

    if isinstance(error, InputError):
        return printable(error)
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {printable(text)} (--debug shows where)"
