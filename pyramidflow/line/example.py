"""A configuration with a comment on every key, written from the settings themselves."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pyramidflow.line.configuration import LimitsSettings, LineSettings, StationSettings, line_model
from pyramidflow.line.registry import sink_kinds, source_kinds
from pyramidflow.line.service_settings import ServiceSettings
from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.source import Source

_HEAD = """\
# A line of PyramidFlow: pyramidflow run line.toml
# What stands behind "# " and has a value is the default, or an example where there is none.
# Relative paths start from this file's folder.
"""

_WORKING_SOURCE = """\
[stations.source]
kind = "folder"
path = "incoming"
"""


def example() -> str:
    """A TOML text that is a valid configuration, with every key of every kind in comments."""
    lines = [_HEAD, *_keys(LineSettings, leave_out=("limits", "service", "stations", "sinks"))]
    lines += ["", "# [limits]", *_keys(LimitsSettings, ())]
    lines += ["", "# The page and the HTTP interface; the extra service.", "# [service]"]
    lines += _keys(ServiceSettings, ())
    lines += ["", "[[stations]]", 'name = "line"', 'detector = "part.safetensors"']
    lines += _keys(StationSettings, leave_out=("name", "detector", "source"))
    lines += [
        "",
        _WORKING_SOURCE.rstrip(),
        *_keys(source_kinds()["folder"].Settings, ("kind", "path")),
    ]
    for kind, source in source_kinds().items():
        if kind != "folder":
            lines += ["", *_section("[stations.source]", kind, source)]
    for kind, sink in sink_kinds().items():
        lines += ["", *_section("[[sinks]]", kind, sink)]
    return "\n".join(lines) + "\n"


def schema() -> str:
    """The JSON schema of a configuration."""
    return json.dumps(line_model().model_json_schema(), indent=2)


def _section(table: str, kind: str, owner: type[Source] | type[Sink]) -> Iterator[str]:
    first = (owner.__doc__ or owner.__name__).partition("\n")[0]
    yield f"# {first}"
    yield f"# {table}"
    yield f'# kind = "{kind}"'
    yield from _keys(owner.Settings, ("kind",))


def _keys(model: type[BaseModel], leave_out: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name not in leave_out:
            yield from textwrap.wrap(
                field.description or name, 98, initial_indent="#   ", subsequent_indent="#   "
            )
            yield f"# {name} = {_value(field)}"


def _value(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined or default is None:
        return _sample(field.annotation)
    return _toml(default)


def _sample(kind: Any) -> str:
    """A value of a type that has no default."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _sample(next(part for part in parts if part is not type(None)))
    if origin is Literal:
        return _toml(parts[0])
    if origin is tuple:
        return f"[{_sample(parts[0])}]"
    if origin is dict or kind is dict:
        return "{}"
    return {bool: "false", int: "1", float: "1.0", Path: '"path"'}.get(kind, '"…"')


def _toml(value: Any) -> str:
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
