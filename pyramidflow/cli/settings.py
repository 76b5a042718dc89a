"""Options of a command that are settings of a detector: one for each, made from the spec."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Optional, get_args, get_origin

import typer

from pyramidflow.detector.spec import names
from pyramidflow.settings import Setting, without_none


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting of the spec that the command line offers.

    The command's own ``settings`` parameter receives those that were given, by name.
    """
    options = [
        _option(name, group, kind, described)
        for name, (group, kind, described) in names().items()
        if described.on_command_line
    ]
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = {option.name: given.pop(option.name) for option in options}
        command(**given, settings={k: v for k, v in settings.items() if v is not None})

    parameters = [*own, *options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run


def _option(name: str, group: str, kind: Any, described: Setting) -> inspect.Parameter:
    default = described.shown_default or _shown(described.default)
    option = typer.Option(
        help=described.help,
        show_default=default,
        rich_help_panel=group.capitalize(),
    )
    annotation = Annotated[_annotation(kind), option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _annotation(kind: Any) -> Any:
    """What typer calls a setting's type; every option may be left out."""
    kind = without_none(kind)
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        element: Any = get_args(kind)[0]
        kind = list.__class_getitem__(element)
    return Optional[kind]  # noqa: UP045


def _shown(default: Any) -> str | bool:
    if default is None or default in ((), False):
        return False
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
