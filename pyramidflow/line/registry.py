"""Kinds of sources and sinks: every file in their folders that defines one is a kind."""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, Field, create_model

from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.source import Source

Kind = TypeVar("Kind", Source, Sink)


@cache
def source_kinds() -> dict[str, type[Source]]:
    """Classes of sources by kind, which is the name of the file."""
    return _kinds("pyramidflow.line.sources", Source)


@cache
def sink_kinds() -> dict[str, type[Sink]]:
    """Classes of sinks by kind, which is the name of the file."""
    return _kinds("pyramidflow.line.sinks", Sink)


def _kinds(package: str, base: Any) -> dict[str, type[Kind]]:
    found: dict[str, type[Kind]] = {}
    for module in iter_modules(import_module(package).__path__):
        name = f"{package}.{module.name}"
        for value in vars(import_module(name)).values():
            is_kind = inspect.isclass(value) and issubclass(value, base)
            if is_kind and value.__module__ == name and not inspect.isabstract(value):
                found[module.name] = value
    return dict(sorted(found.items()))


def settings_of(kinds: Mapping[str, type[Source] | type[Sink]]) -> Any:
    """The type of any kind's settings, told apart by ``kind``.

    Args:
        kinds: classes by kind.
    """
    models: list[type[BaseModel]] = []
    for kind, owner in kinds.items():
        field: Any = (Literal.__getitem__(kind), Field(description=_first_line(owner)))
        name = f"{owner.__name__}Settings"
        models.append(create_model(name, __base__=owner.Settings, kind=field))
    return Annotated[Union[tuple(models)], Field(discriminator="kind")]  # noqa: UP007


def _first_line(owner: type[Source] | type[Sink]) -> str:
    return (inspect.getdoc(owner) or owner.__name__).partition("\n")[0]
