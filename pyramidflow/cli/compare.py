"""``pyramidflow compare``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR
from pyramidflow.cli.groups import DataOptions, TrainingOptions, with_groups
from pyramidflow.cli.options import ReportFolder
from pyramidflow.cli.spec_options import with_settings

if TYPE_CHECKING:
    from pyramidflow.evaluation.comparison import MethodComparison

FIGURE, TABLE, NUMBERS = "figure.png", "comparison.md", "comparison.json"


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Data set with test images, in MVTec AD, BTAD or VisA layout.",
        show_default=False,
    ),
]
MethodsOption = Annotated[str, typer.Option(help="To compare with; padim needs the extra compare.")]
EncoderOption = Annotated[
    str, typer.Option(help="Whose features SPADE, PaDiM and PatchCore compare.")
]
EncoderStagesOption = Annotated[
    str | None,
    typer.Option(
        help="Stages of the encoder, side by side, such as 2,3.",
        show_default="2,3,5 of efficientnet-lite0, else the encoder's own choice",
    ),
]
PretrainedOption = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        help="Our detector works on the encoder's features, too; else it is the baseline.",
    ),
]
PeerSizeOption = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="Size of the images of the other methods, in pixels: the side of a square, or "
        "HEIGHTxWIDTH.",
    ),
]
PeerEpochsOption = Annotated[
    int, typer.Option(min=1, help="Passes of AE-SSIM over the training images.")
]


@partial(with_settings, but=("encoder", "encoder_stages"))
@with_groups
def compare(
    data: DataArgument,
    output: ReportFolder,
    settings: dict[str, Any],
    how: TrainingOptions,
    given: DataOptions,
    methods: MethodsOption = "ae-ssim,spade,padim,patchcore",
    encoder: EncoderOption = "efficientnet-lite0",
    encoder_stages: EncoderStagesOption = None,
    pretrained: PretrainedOption = False,
    peer_size: PeerSizeOption = "256",
    peer_epochs: PeerEpochsOption = 200,
    images: Annotated[int, typer.Option(min=1, help="Test images in the figure.")] = 6,
) -> None:
    """Train AE-SSIM, SPADE and PaDiM beside our detector on one category, and draw what they find.

    Writes figure.png (each method's maps beside the ground truth, as in figures S1 and S2 of the
    paper), comparison.md and comparison.json (metrics, milliseconds, training). All train on all
    good images. A method that fails is named, and the exit code is then 2.
    """
    from pyramidflow.data import Reading
    from pyramidflow.detector import Detector
    from pyramidflow.detector.fitting import decoding_of
    from pyramidflow.evaluation.comparison import Ours, Peers, method_names
    from pyramidflow.evaluation.comparison import compare as compare_methods
    from pyramidflow.io.files import exclusive
    from pyramidflow.model.encoders import encoder_stages as parsed_stages

    names = method_names(methods)
    dataset = given.opened(data)
    ours_on: dict[str, Any] = {"encoder": encoder, "encoder_weights": how.encoder_weights}
    chosen = {"validation_share": 0.0} | given.with_preset(dataset, settings)
    detector = Detector(device=how.device, **(ours_on if pretrained else {}), **chosen)
    decoding = decoding_of(detector.spec, how.max_pixels)
    peers = Peers(
        Reading(_size(peer_size), decoding, how.cache_bytes),
        encoder,
        parsed_stages(encoder_stages or ()),
        how.encoder_weights,
        detector.device,
        detector.spec.recipe.seed,
        peer_epochs,
        _say,
    )
    ours = Ours(detector, dataset, cache_bytes=how.cache_bytes, max_pixels=how.max_pixels)
    compared = [*peers.made(names), ours]
    with exclusive(output / TABLE, covers=[output / FIGURE, output / NUMBERS]):
        found = compare_methods(
            compared, dataset, lambda: detector.preprocessing.size, decoding, images, _say
        )
        _write(found, output, chosen)
    _print_results(found, output)


def _size(text: str) -> tuple[int, int]:
    from pyramidflow.errors import InputError
    from pyramidflow.spec import AUTO, image_size

    try:
        found = image_size(text)
    except ValueError as error:
        raise InputError(f"--peer-size is {text}: {error}.") from error
    if isinstance(found, str):
        raise InputError(f"--peer-size is {AUTO}: give a side, or HEIGHTxWIDTH such as 640x256.")
    if min(found) < 32:
        raise InputError(f"--peer-size is {text}: at least 32 pixels are needed on each side.")
    return found


def _say(line: str) -> None:
    from pyramidflow.io.names import printable

    typer.echo(printable(line), err=True)


def _write(found: "MethodComparison", output: Path, settings: dict[str, Any]) -> None:
    from pyramidflow import __version__
    from pyramidflow.evaluation.comparison import write_figure, write_json, write_markdown

    given = ", ".join(f"{name} {value}" for name, value in settings.items())
    facts = {"our settings": given, "version": __version__}
    write_figure(found, output / FIGURE)
    write_json(found, output / NUMBERS, facts)
    write_markdown(found, output / TABLE, facts, FIGURE)


def _print_results(found: "MethodComparison", output: Path) -> None:
    from pyramidflow.evaluation.comparison import table_lines
    from pyramidflow.io.names import printable

    lines = table_lines(found)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        typer.echo("  ".join([first.ljust(widths[0]), *cells]))
    typer.echo(f"written to {printable(output)}: {FIGURE}, {TABLE}, {NUMBERS}")
    errors = [f"{result.name}: {result.error}" for result in found.results if result.error]
    for sentence in (*errors, *found.failures):
        typer.echo(f"error: {printable(sentence)}", err=True)
    if errors or found.failures:
        raise typer.Exit(EXIT_INPUT_ERROR)
