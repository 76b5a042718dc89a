"""Texts and metadata from outside, as every store, sink and page can hold them."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from pyramidflow.errors import InputError, shown
from pyramidflow.io.names import readable_bytes

_DEEPEST: Final = 16
"""Lists and tables inside one another."""

_MOST_BITS: Final = 64
"""Of a whole number."""


def storable(text: str) -> str:
    r"""A text that databases and JSON can hold.

    Bytes of a file name that are no UTF-8, and a zero byte, are written ``\xNN``; half a surrogate
    pair is written ``\uNNNN``.

    Args:
        text: from outside.
    """
    return readable_bytes(text).replace("\0", "\\x00")


def is_json(value: object, deep: int = 0) -> bool:
    """Whether JSON has such a value: no number that is not finite, no table with other keys.

    Args:
        value: from outside.
        deep: in how many lists and tables it lies.
    """
    if value is None or isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    if isinstance(value, float):
        return isfinite(value)
    if deep == _DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_json(x, deep + 1) for key, x in value.items())
    return isinstance(value, list | tuple) and all(is_json(x, deep + 1) for x in value)


def check_metadata(metadata: object) -> None:
    """Refuse metadata that are no JSON.

    Args:
        metadata: from outside.

    Raises:
        InputError: they are no table with texts as keys, or a value is none that JSON has.
    """
    expected = (
        "JSON is expected, so texts, finite numbers, true, false and None, in lists and under "
        "texts as keys; write it as one of them."
    )
    if not isinstance(metadata, Mapping):
        raise InputError(f"the metadata are {shown(metadata)}: {expected}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not is_json(value):
            raise InputError(f"the metadata's {shown(key)} is {shown(value)}: {expected}")


def storable_metadata(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """A copy of metadata as JSON values; what is none becomes a short text.

    Args:
        metadata: of a frame.
    """
    return {
        storable(str(key)): _copied(value) if is_json(value) else storable(shown(value))
        for key, value in metadata.items()
    }


def _copied(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(key): _copied(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(x) for x in value]
    return value
