"""``pyramidflow doctor``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyramidflow.diagnosis import Diagnosis

EXIT_BROKEN = 1

IN_JSON_ONLY = ("self_test",)
"""Details that would fill the screen."""


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the diagnosis as one JSON object.")
    ] = False,
) -> None:
    """Say what this installation has, and try whether it works on this machine.

    Runs every operation of every backend, and an inspection on every device. Exit code 1 where
    something that should work does not, 0 where something is merely absent.
    """
    import json

    from pyramidflow.diagnosis import diagnose

    diagnosis = diagnose()
    if as_json:
        typer.echo(json.dumps(diagnosis.as_dict(), indent=2, allow_nan=False))
    else:
        typer.echo("\n".join(_lines(diagnosis)))
    if diagnosis.broken:
        raise typer.Exit(EXIT_BROKEN)


def _lines(diagnosis: "Diagnosis") -> list[str]:
    from pyramidflow.io.names import printable

    width = max(map(len, diagnosis.findings))
    lines = [f"pyramidflow {diagnosis.version}", ""]
    for name, found in diagnosis.findings.items():
        lines.append(f"{name:<{width}}  {found.state:<6}  {printable(found.summary)}")
        for key, value in found.details.items():
            shown = _shown(value)
            if shown and key not in IN_JSON_ONLY:
                lines.append(printable(f"{'':<{width + 10}}{key.replace('_', ' ')}: {shown}"))
    broken = diagnosis.broken
    last = f"broken: {', '.join(broken)}" if broken else "all that should work works"
    return [*lines, "", last]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:.2g}"
    return "none" if value is None else str(value)
