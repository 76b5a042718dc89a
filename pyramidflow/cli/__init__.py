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

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR, EXIT_INTERRUPTED

AREA_OPTIONS = ("--region-of-interest", "--exclude")


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
    given = _with_rectangles(given)
    with lasting_streams() as output_failure:
        code = _run(given, debug)
        failure = output_failure()
        if failure is not None and code == 0:
            reason = f"standard output could not be written ({failure.strerror})"
            print(f"error: {reason}: write it to another place.", file=sys.stderr)
            code = EXIT_INPUT_ERROR
    sys.exit(code)


def _with_rectangles(given: Sequence[str]) -> list[str]:
    """Four numbers behind an option for areas as one word: options take one each."""
    found, left = [], list(given)
    while left:
        found.append(left.pop(0))
        if found[-1] in AREA_OPTIONS and len(left) >= 4 and all(map(_is_number, left[:4])):
            found.append(",".join(left[:4]))
            del left[:4]
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _run(given: Sequence[str], debug: bool) -> int:
    from pyramidflow.cli.app import app
    from pyramidflow.interrupt import termination_as_ctrl_c

    try:
        _refuse_empty(given)
        with termination_as_ctrl_c(), _warnings_in_one_line():
            code = app(given or ["--help"], prog_name="pyramidflow", standalone_mode=False)
        if not given:  # the help stands in for the command that is missing
            return EXIT_INPUT_ERROR
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # whatever it is, exit code 1 is taken: it means defects found
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {_sentence(error, given)}", file=sys.stderr)
        return EXIT_INPUT_ERROR


def _refuse_empty(given: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would be the current folder.

    Raises:
        InputError: there is one.
    """
    from pyramidflow.errors import InputError

    for number, argument in enumerate(given, 1):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            name = argument.rstrip("=") or f"argument {number}"
            raise InputError(
                f"{name} is empty: a value is expected; see whether a variable of the shell is not "
                "set."
            )


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


def _sentence(error: Exception, given: Sequence[str]) -> str:
    from pyramidflow.errors import InputError
    from pyramidflow.io.names import printable

    if isinstance(error, InputError):
        return printable(error)
    if hasattr(error, "format_message"):  # of typer: what was given does not fit the options
        return _usage_sentence(error, given)
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {printable(text)} (--debug shows where)"


def _usage_sentence(error: Any, given: Sequence[str]) -> str:
    from pyramidflow.io.names import printable

    reason = error.format_message()
    refused = _refused_value(getattr(error, "param", None), given)
    if refused is not None:
        reason = f"{refused} cannot be taken: {error.message.removeprefix('Value error, ')}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "pyramidflow"
    return f"{printable(reason).rstrip('. ')}; see {command} --help."


def _refused_value(parameter: Any, given: Sequence[str]) -> str | None:
    """An option as it stands on the command line; typer's sentences do not repeat the value."""
    for option in getattr(parameter, "opts", ()):
        for place, argument in enumerate(given):
            if argument.startswith(f"{option}="):
                return argument
            if argument == option:
                return " ".join(given[place : place + 1 + parameter.nargs])
    return None
