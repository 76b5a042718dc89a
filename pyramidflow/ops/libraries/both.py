"""Functions that both compiled libraries have, with the same parameters but for the last one.

A family's ``compiled.py`` declares them here, and computes for both backends in one function, whose
first argument says for which. Each library has its own structure for the sizes of a level: the
declaration names :class:`Sizes`, and :func:`sizes_of` gives the library's own.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from torch import Tensor

from pyramidflow.ops.libraries import cpu, cuda
from pyramidflow.ops.libraries.declaration import Sizes

P = ParamSpec("P")


def function(name: str) -> Callable[[Callable[P, None]], Callable[Concatenate[str, P], None]]:
    """Make a declaration call the function of a name in one library or the other.

    Args:
        name: in the libraries, without their prefix.

    Returns:
        A decorator of a function without a body. What it makes takes ``"cpu"`` or ``"cuda"`` first,
        and raises what :func:`pyramidflow.ops.libraries.cpu.function` or
        :func:`pyramidflow.ops.libraries.cuda.kernel` does.
    """

    def declare(declared: Callable[P, None]) -> Callable[Concatenate[str, P], None]:
        calls = {"cpu": cpu.function(name)(declared), "cuda": cuda.kernel(name)(declared)}

        @wraps(declared)
        def run(library: str, /, *arguments: P.args, **named: P.kwargs) -> None:
            calls[library](*arguments, **named)

        return run

    return declare


def sizes_of(library: str, x: Tensor) -> Sizes:
    """The description of a dense tensor ``[B, C, H, W]`` that ``"cpu"`` or ``"cuda"`` takes."""
    return cpu.image_of(x) if library == "cpu" else cuda.level_of(x)
