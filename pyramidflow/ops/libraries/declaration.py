"""What Python declares of a compiled library: types of arguments, compared with the library's own.

A library keeps the text of each function's parameters and of each structure's fields. What differs
from the declaration here is refused before anything is called.
"""

import ctypes
import typing
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from pyramidflow.ops.libraries.loading import LibraryError, kept_text, symbol

POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64

_SCALARS = {"int64_t": SIZE, "float": ctypes.c_float, "cudaStream_t": POINTER}


class Structure(ctypes.Structure):
    """A structure of a library, passed by value; ``Level`` here is ``PyramidflowLevel`` there."""


class Sizes(Structure):
    """Sizes of a level: in declarations for both libraries it stands for the structure of each."""


def sizes_named(names: str) -> list[tuple[str, type]]:
    """Fields of sizes, from their names."""
    return [(name, SIZE) for name in names.split()]


def as_declared(
    library: ctypes.CDLL,
    name: str,
    function: str,
    declared: Callable[..., object],
    sizes: type[Sizes],
    last: str,
) -> tuple[Any, list[type]]:
    """A function of a library, and the types of its arguments but for the last one.

    Args:
        library: the compiled library.
        name: of the library, ``"cpu"`` or ``"cuda"``.
        function: its symbol.
        declared: as for :func:`argument_types`.
        sizes: likewise.
        last: as for :func:`check_declared`.

    Raises:
        LibraryError: it is not there, or the library declares it otherwise.
    """
    types = argument_types(declared, sizes)
    check_declared(library, name, function, types, last)
    types.pop(last, None)
    return symbol(library, name, function), list(types.values())


def argument_types(declared: Callable[..., object], sizes: type[Sizes]) -> dict[str, type]:
    """By the names of its parameters: a pointer for a tensor, a C structure for itself.

    Args:
        declared: function whose parameters are annotated with ``Tensor``, ``Tensor | None``,
            ``int``, ``float``, or a type of ``ctypes``.
        sizes: the library's structure that :class:`Sizes` stands for.
    """
    annotations = typing.get_type_hints(declared)
    annotations.pop("return", None)
    types = {name: _ctype(annotation) for name, annotation in annotations.items()}
    return {name: sizes if type_ is Sizes else type_ for name, type_ in types.items()}


def _ctype(annotation: object) -> type:
    if annotation in (int, bool, int | None):
        return SIZE
    if annotation is float:
        return ctypes.c_float
    if annotation in (Tensor, Tensor | None):
        return POINTER
    if typing.get_origin(annotation) is ctypes.Array:
        return POINTER
    assert isinstance(annotation, type), annotation
    return annotation


def check_declared(
    library: ctypes.CDLL, name: str, function: str, types: dict[str, type], last: str
) -> None:
    """Refuse a function that the library declares otherwise, or a structure that it takes.

    Args:
        library: the compiled library.
        name: of the library, ``"cpu"`` or ``"cuda"``.
        function: its symbol.
        types: of the arguments, by their names.
        last: an argument of the library that no declaration has.

    Raises:
        LibraryError: a name, a type or their order differs, or the function is not there.
    """
    structures = {f"Pyramidflow{t.__name__}": t for t in types.values() if issubclass(t, Structure)}
    parameters = kept_text(library, name, f"{function}_parameters").split(",")
    found = dict(_named(parameter, structures) for parameter in parameters if parameter)
    found.pop(last, None)
    _compare(name, function, found, {n: t for n, t in types.items() if n != last})
    for structure, declared in structures.items():
        text = kept_text(library, name, f"pyramidflow_{name}_{structure}_fields")
        fields = dict(_named(field, {}) for field in _fields(text))
        _compare(name, structure, fields, {field[0]: field[1] for field in declared._fields_})


def _named(text: str, structures: dict[str, type]) -> tuple[str, object]:
    """Name and type of a parameter or a field: ``const float* x``."""
    *kind, name = text.split()
    if "*" in text:
        return name.lstrip("*"), POINTER
    return name, _SCALARS.get(kind[-1]) or structures.get(kind[-1])


def _fields(text: str) -> Iterator[str]:
    """Fields one by one: ``int64_t height, width;`` are two."""
    for statement in filter(None, map(str.strip, text.split(";"))):
        first, *others = statement.split(",")
        kind = first.rpartition(" ")[0]
        yield first
        for other in others:
            yield f"{kind} {other}"


def _compare(name: str, what: str, found: dict[str, object], expected: dict[str, type]) -> None:
    if list(found.items()) != list(expected.items()):
        raise LibraryError(
            f"the compiled {name} library was built for other Python code than this ({what} has "
            f"{', '.join(found) or 'nothing'}, not {', '.join(expected) or 'nothing'}): install "
            "again from source."
        )
