"""What ends the measuring of one image, detector or method, and not of the others."""

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

UNUSABLE = (InputError, OSError, MemoryError, RuntimeError)
"""Of PyTorch, RuntimeError: the memory of a device is full."""


def reason_of(error: BaseException) -> str:
    """Why, in a line."""
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__
