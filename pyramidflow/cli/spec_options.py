"""Options of a command that are settings of a detector: one for each, made from the spec."""

import functools
import inspect
from collections.abc import Callable, Collection
from enum import Enum
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer

from pyramidflow.spec import VerdictRule, names
from pyramidflow.validated import Setting, without_none


def with_settings(command: Callable[..., None], but: Collection[str] = ()) -> Callable[..., None]:
    """Give a command an option for every setting of the spec that the command line offers.

    The command's own ``settings`` parameter receives those that were given, by name.

    Args:
        command: to give them to.
        but: settings that the command chooses itself.
    """
    options = [
        _option(name, group, kind, described)
        for name, (group, kind, described) in names().items()
        if described.on_command_line and name not in but
    ]
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        found = {option.name: _plain(given.pop(option.name)) for option in options}
        command(**given, settings={k: v for k, v in found.items() if v not in (None, ())})

    parameters = [*own, *options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


def with_verdict(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting of the verdict."""
    others = [name for name, (group, *_) in names().items() if group != VerdictRule.group]
    return with_settings(command, others)


def _option(name: str, group: str, kind: Any, described: Setting) -> inspect.Parameter:
    default = described.shown_default or _shown(described.default)
    option = typer.Option(
        help=described.help,
        show_default=default,
        rich_help_panel=group.capitalize(),
    )
    annotation = Annotated.__class_getitem__((Optional[_parsed(kind, described)], option))  # type: ignore[attr-defined] # noqa: UP045
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _parsed(kind: Any, described: Setting) -> Any:
    """What typer takes for a setting's type; of lists it knows those of enumerations."""
    if described.convert is not None:
        return list[str] if described.is_several else str
    kind = without_none(kind)
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        choices = get_args(get_args(kind)[0])
        listed = Enum("Choices", {choice: choice for choice in choices})  # type: ignore[misc]
        return list.__class_getitem__(listed)
    if described.implied:
        offered = tuple(choice for choice in get_args(kind) if choice not in described.implied)
        return Literal.__getitem__(offered)
    return kind


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_plain(entry) for entry in value)
    return value.value if isinstance(value, Enum) else value


def _shown(default: Any) -> str | bool:
    if default is None or default in ((), False):
        return False
    if default is True:
        return "on"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
