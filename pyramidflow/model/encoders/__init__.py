"""The encoders, a file each: every module here has a tuple ``ENCODERS`` of descriptions.

Nothing heavy is imported: an encoder that is no list of layers is a folder, and its module a file
of its own there. A new encoder is a new file; nothing else names it.
"""

import numbers
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pyramidflow.errors import InputError, shown
from pyramidflow.model.encoder import Encoder, Stages

MOST_STAGES = 16


@cache
def all_encoders() -> tuple[Encoder, ...]:
    """Every encoder that is described here."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    return tuple(encoder for module in modules for encoder in module.ENCODERS)


def find_encoder(name: object) -> Encoder | None:
    """The encoder of a name; ``None`` where there is none."""
    if not isinstance(name, str):
        return None
    found = (encoder.named(name) for encoder in all_encoders())
    return next((encoder for encoder in found if encoder is not None), None)


def known_encoders() -> str:
    """Names that a setting may have, as a sentence lists them."""
    return ", ".join(known.name for known in all_encoders() if known.is_offered)


def encoder_name(value: object) -> str:
    """Check an encoder's name.

    Raises:
        ValueError: there is no such encoder.
    """
    encoder = find_encoder(value)
    if encoder is None:
        raise ValueError(f"choose one of {known_encoders()}")
    return encoder.name


def encoder_of(name: str) -> Encoder:
    """The encoder of a name that was checked."""
    encoder = find_encoder(name)
    assert encoder is not None
    return encoder


def with_encoder_renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an older version wrote down, with the encoder's name of today."""
    encoder = find_encoder(settings.get("encoder"))
    return dict(settings) if encoder is None else {**settings, "encoder": encoder.name}


def encoder_stages(value: Any) -> Stages:
    """Numbers of an encoder's stages as people write them: ``2``, ``(2, 3)`` or ``"2,3"``.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")] if value else []
        if not all(part.isdecimal() and len(part) < 4 for part in parts):
            raise ValueError(_STAGES)
        value = [int(part) for part in parts]
    given = list(value) if isinstance(value, list | tuple) else [value]
    if len(given) > MOST_STAGES or not all(map(_is_stage, given)):
        raise ValueError(_STAGES)
    return tuple(int(number) for number in given)


_STAGES = f"give up to {MOST_STAGES} numbers of stages such as 2, or 2,3 for two side by side"


def _is_stage(value: Any) -> bool:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_whole and 0 <= int(value) < 1000


def settings_of_encoder(name: Any, stages: Any = ()) -> dict[str, Any]:
    """Settings that follow from an encoder and its stages, where they are not given.

    Raises:
        InputError: there is no such encoder, it has no such stages, or its package is missing.
    """
    encoder = find_encoder(name)
    if encoder is None:
        raise InputError(f"encoder is {shown(name)}: choose one of {known_encoders()}.")
    try:
        chosen = encoder_stages(stages) or encoder.default_stages
    except ValueError as error:
        raise InputError(f"encoder_stages is {shown(stages)}: {error}.") from error
    encoder.check_stages(chosen)
    return encoder.settings(chosen)
