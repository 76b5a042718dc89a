"""``pyramidflow reproduce``."""

from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR
from pyramidflow.cli.groups import TrainingOptions, with_groups
from pyramidflow.cli.options import ReportFolder
from pyramidflow.cli.ray_options import ClusterOptions
from pyramidflow.cli.spec_options import with_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyramidflow.bulk.cluster import ClusterSettings
    from pyramidflow.evaluation.reproduction import Cell, Experiment, Reproduction

# Of lists, typer knows those of enumerations.
Numeral = Enum("Numeral", {"I": "I", "II": "II", "III": "III", "IV": "IV"})


RootArgument = Annotated[
    Path,
    typer.Argument(
        metavar="ROOT",
        help="Data set in MVTec AD or BTAD layout, with all its categories.",
        show_default=False,
    ),
]
CategoryOption = Annotated[
    list[str] | None,
    typer.Option(help="Only this one. May be repeated.", show_default="all"),
]
AblationOption = Annotated[
    list[Numeral] | None,
    typer.Option(
        help="Train without a part of the method, too: I volume norm, II latent template, III "
        "pyramid difference, IV fourier loss. May be repeated.",
        show_default=False,
    ),
]
PresetOption = Annotated[
    str, typer.Option(help="Published settings; options that are given stand above them.")
]
EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="local does one category after the other, in this process; ray, several side by side "
        "on a cluster, with the extra ray.",
    ),
]


@partial(with_settings, but=("without",))
@with_groups
def reproduce(
    root: RootArgument,
    output: ReportFolder,
    settings: dict[str, Any],
    how: TrainingOptions,
    cluster: ClusterOptions,
    category: CategoryOption = None,
    ablation: AblationOption = None,
    preset: PresetOption = "mvtec",
    engine: EngineOption = "local",
) -> None:
    """Train and measure every category as the paper did, and lay the numbers beside its own.

    Writes tables.md, tables.csv and tables.json, and for each category and variant a detector file
    and its result. What is finished is not done again: the same command goes on where it was
    stopped. A changed setting, or another list of files, makes a result stale. A category that
    fails is named, and the exit code is then 2. With --engine ray categories are done side by side.
    """
    from pyramidflow.evaluation.reproduction import (
        FILES,
        Reproduction,
        check_categories,
        earlier_experiments,
        plan_experiments,
        table_cells,
        variants_of,
        write_tables,
    )
    from pyramidflow.io.files import exclusive

    there = cluster.settings(engine, None)
    variants = variants_of([each.value for each in ablation or ()])
    plan = partial(plan_experiments, root, output, preset=preset, settings=settings)
    planned = plan(variants)
    check_categories(planned, category or ())
    chosen = [
        experiment for experiment in planned if not category or experiment.category in category
    ]
    planned += earlier_experiments(output, variants, plan)
    reproduction = Reproduction(
        root, how.encoder_weights, how.device, how.cache_bytes, how.max_pixels, say=_say
    )
    facts = _facts(preset, settings)

    def write() -> "Sequence[Cell]":
        cells = table_cells([reproduction.state(experiment) for experiment in planned])
        write_tables(cells, output, facts)
        return cells

    with exclusive(output / FILES[0], covers=[output / name for name in FILES[1:]]):
        write()
        _run(reproduction, chosen, write, there)
        cells = write()
    _print_results([cell for cell in cells if cell.state.experiment in set(chosen)], output)


def _run(
    reproduction: "Reproduction",
    chosen: "Sequence[Experiment]",
    write: "Callable[[], object]",
    cluster: "ClusterSettings | None",
) -> None:
    if cluster is None:
        reproduction.run(chosen, write)
        return
    from pyramidflow.bulk.reproduction import reproduce_side_by_side

    reproduce_side_by_side(reproduction, chosen, write, cluster)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _facts(preset: str, settings: dict[str, Any]) -> dict[str, str]:
    from pyramidflow import __version__

    given = ", ".join(f"{name} {value}" for name, value in settings.items())
    return {"settings": f"preset {preset}", "above it": given or "none", "version": __version__}


def _print_results(cells: "Sequence[Cell]", output: Path) -> None:
    """Print a line for each experiment.

    Raises:
        typer.Exit: not all have a result, from every test image.
    """
    from pyramidflow.evaluation.reproduction import FILES, METRICS
    from pyramidflow.io.names import printable

    errors = []
    for cell in cells:
        name, record = cell.state.experiment.name, cell.state.record
        if cell.state.problem is not None or record is None:
            errors.append(f"{name}: {cell.state.problem}")
            continue
        shown = ", ".join(f"{title} {cell.text(metric)}" for metric, title in METRICS.items())
        typer.echo(f"{name}: {shown}")
        errors += [f"{name}: {error}" for error in record.facts["failed_images"]]
    for error in errors:
        typer.echo(f"error: {error}", err=True)
    typer.echo(f"written to {printable(output)}: {', '.join(FILES)}")
    if errors:
        raise typer.Exit(EXIT_INPUT_ERROR)
