"""``pyramidflow info``."""

from pathlib import Path
from typing import Annotated

import typer


def info(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Detector file (.safetensors).", show_default=False),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file's whole header as JSON.")
    ] = False,
) -> None:
    """Say what is in a detector file."""
    import json

    from pyramidflow.cli.summary import header_facts, print_facts
    from pyramidflow.storage import read_header

    header = read_header(model, "detector")
    if as_json:
        typer.echo(json.dumps(header, indent=2, ensure_ascii=False))
    else:
        print_facts(header_facts(header) | {"file": f"{model} ({model.stat().st_size:,} bytes)"})
