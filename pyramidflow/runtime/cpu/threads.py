"""How many threads a runtime on the CPU may use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyramidflow.errors import InputError

_is_forked = False


def usable_threads(wanted: int | None) -> int:
    """The number of threads that a runtime uses.

    A process that was forked has one: the threads of OpenMP do not live on in it, and PyTorch and
    the compiled kernels would wait for them for ever.

    Args:
        wanted: ``None`` takes PyTorch's number.

    Raises:
        InputError: several are wanted in a process that was forked.
    """
    if not _is_forked:
        return wanted or torch.get_num_threads()
    if wanted not in (None, 1):
        raise InputError(
            f"threads is {wanted}, but this process was forked and has one: leave threads out, or "
            "start processes with the method 'spawn'."
        )
    return 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """As many threads for PyTorch's own operations, where they are called from this thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _note_fork() -> None:
    global _is_forked
    _is_forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
