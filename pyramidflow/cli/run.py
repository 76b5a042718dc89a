"""``pyramidflow run``."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pyramidflow.cli.options import ReportEvery
from pyramidflow.interrupt import Handler, answering
from pyramidflow.io.names import printable
from pyramidflow.machine import return_large_buffers

if TYPE_CHECKING:
    from pyramidflow.line.line import Line
    from pyramidflow.line.service_settings import ServiceSettings

log = logging.getLogger("pyramidflow.line")

_LOOK: Final = 0.5
"""Seconds between two looks at what signals ask for."""


def run(
    configuration: Annotated[
        Path | None,
        typer.Argument(metavar="LINE.TOML", help="The line's configuration.", show_default=False),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check configuration, detectors and settings, and end."),
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a configuration with comments, and end.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the configuration's JSON schema, and end.")
    ] = False,
    report_every: ReportEvery = 60,
) -> None:
    """Inspect all day: pictures from cameras, folders or programs, verdicts to sinks.

    SIGHUP takes changed detector files and thresholds between two parts. Ctrl-C and SIGTERM finish
    what is in hand, and end with code 130; a second one ends at once. Where every source comes to
    an end, so does the line: with code 0, or 2 where a part had no verdict.
    """
    if example or schema:
        _refuse_beside("--example" if example else "--schema", configuration, check, schema)
        from pyramidflow.line.example import example as example_text
        from pyramidflow.line.example import schema as schema_text

        typer.echo(example_text() if example else schema_text(), nl=schema and not example)
        return
    if configuration is None:
        from pyramidflow.errors import InputError

        raise InputError(
            "the configuration is missing: name a TOML file; pyramidflow run --example prints one."
        )
    from pyramidflow.line.line import Line

    log_to_terminal()
    line = Line(configuration)
    if check:
        line.check()
        typer.echo(f"{printable(configuration)} is in order: {_described(line)}")
        return
    run_line(line, report_every, line.settings.service)


def _refuse_beside(printing: str, configuration: Path | None, check: bool, schema: bool) -> None:
    from pyramidflow.errors import InputError

    if configuration is not None:
        raise InputError(
            f"{printing} is given with {printable(configuration)}: it prints and writes no file; "
            f"leave the file out, or redirect with {printing} > FILE."
        )
    if check or (schema and printing != "--schema"):
        other = "--check" if check else "--schema"
        raise InputError(f"{printing} and {other} are given: each does one thing; give one.")


def log_to_terminal() -> None:
    """Write what the program says of itself to standard error, a line each."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("pyramidflow").setLevel(logging.INFO)


def run_line(line: "Line", report_every: float, service: "ServiceSettings | None") -> None:
    """Run a line until its end or a signal, and end the program with its code.

    Args:
        line: not started.
        report_every: seconds between counts.
        service: of its page; none where it is ``None``.

    Raises:
        typer.Exit: it was stopped, or a part had no verdict.
    """
    from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR, EXIT_INTERRUPTED

    return_large_buffers()
    with _signals() as asked:
        with _served(line, service):
            log.info("running: %s", _described(line))
            passed = 0.0
            while not line.wait(0) and not asked.stop.is_set():
                asked.any.wait(_LOOK)
                asked.any.clear()
                if asked.reload.is_set() and not line.preparing:
                    asked.reload.clear()
                    if not line.reload():
                        log.info("reloaded: nothing has changed")
                passed += _LOOK
                if passed >= report_every:
                    passed = 0.0
                    _report(line)
            log.info("stopping: what is in hand is finished")
        _report(line)
        is_stopped = asked.stop.is_set()
    if is_stopped:
        raise typer.Exit(EXIT_INTERRUPTED)
    if line.has_errors:
        raise typer.Exit(EXIT_INPUT_ERROR)


@contextmanager
def _served(line: "Line", service: "ServiceSettings | None") -> Iterator[None]:
    with ExitStack() as held:
        held.callback(line.stop)
        if service is not None:
            from pyramidflow.service.server import Service

            page = Service(line, service)
            line.open()
            held.enter_context(page)
        line.start()  # behind the page, which shows how the detectors get ready
        yield


class _Asked:
    """What signals asked for."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.reload = threading.Event()
        self.any = threading.Event()

    def note_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt
        self.stop.set()
        self.any.set()

    def note_reload(self, number: int, frame: FrameType | None) -> None:
        self.reload.set()
        self.any.set()


@contextmanager
def _signals() -> Iterator[_Asked]:
    asked = _Asked()
    handlers: dict[signal.Signals, Handler] = {
        signal.SIGINT: asked.note_stop,
        signal.SIGTERM: asked.note_stop,
    }
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = asked.note_reload
    with answering(handlers):
        yield asked


def _described(line: "Line") -> str:
    stations = line.settings.stations
    sinks = len(line.settings.sinks)
    names = ", ".join(printable(station.name) for station in stations)
    return f"{len(stations)} station(s) ({names}), {sinks} sink(s), store {line.settings.store}"


def _report(line: "Line") -> None:
    found = line.status()
    for name, station in found["stations"].items():
        counts = ("ok", "review", "ng", "errors", "late", "dropped")
        log.info("%s: %s", name, ", ".join(f"{station[key]} {key}" for key in counts))
    for name, sink in found["outbox"].get("sinks", {}).items():
        if sink["waiting"] or sink["refused"]:
            log.info("%s: %d wait, %d refused", name, sink["waiting"], sink["refused"])
