"""``pyramidflow template``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import ModelFile


def template(
    model: ModelFile,
    output: Annotated[
        Path, typer.Option("--output", help="Picture to write (.png).", show_default=False)
    ],
) -> None:
    """Write the picture of the normal part: what the detector compares images with.

    Only detectors without a ResNet have one; their encoder can be inverted.
    """
    from pyramidflow.detector import Detector
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import exclusive
    from pyramidflow.io.names import printable
    from pyramidflow.io.pictures import write_png

    if output.suffix.lower() != ".png":
        raise InputError(f"the output is {output}: name a .png file.")
    with exclusive(output):
        write_png(output, Detector.load(model, device="cpu").template_picture())
    typer.echo(printable(output))
