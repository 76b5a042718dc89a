"""A command that torchrun may run in several processes: one of them speaks."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import typer

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pyramidflow.training import Parallel


@contextmanager
def together(device: str) -> Iterator["tuple[Parallel, str]"]:
    """The processes that work together, while the context is open.

    Process 0 alone prints. Of those that fail the first one says why, and all end.

    Args:
        device: as it was given to all of them.

    Yields:
        This process among them, and its own device.

    Raises:
        InputError: the device cannot be used, or the processes do not find one another.
    """
    with ExitStack() as stack:
        own, parallel = _joined(device, stack)
        if parallel.rank > 0:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield parallel, own
        except KeyboardInterrupt as stop:
            if parallel.rank > 0 or not parallel.fails_first():
                raise typer.Exit(EXIT_INTERRUPTED) from stop
            raise
        except Exception as error:
            if not parallel.fails_first():
                raise typer.Exit(EXIT_INPUT_ERROR) from error
            raise


def _joined(device: str, stack: ExitStack) -> "tuple[str, Parallel]":
    from pyramidflow.errors import InputError
    from pyramidflow.training.torchrun import local_rank, own_device, processes

    try:
        own = own_device(device)
        return own, stack.enter_context(processes(own))
    except InputError as error:
        if local_rank() > 0:  # all of this machine fail alike
            raise typer.Exit(EXIT_INPUT_ERROR) from error
        raise
