"""Kinds of sources and sinks: every file in their folders that defines one is a kind."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, create_model

from pyramidflow.discovery import offered
from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.source import Source


@cache
def source_kinds() -> dict[str, type[Source]]:
    """Classes of sources by kind, which is the name of the file."""
    return _kinds("pyramidflow.line.sources", Source)


@cache
def sink_kinds() -> dict[str, type[Sink]]:
    """Classes of sinks by kind, which is the name of the file."""
    return _kinds("pyramidflow.line.sinks", Sink)


def _kinds(package: str, base: type[Any]) -> dict[str, Any]:
    return {
        found.__module__.removeprefix(f"{package}."): found
        for found in offered(package, type)
        if issubclass(found, base) and found.__module__.startswith(package) and found is not base
    }


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
