"""``pyramidflow evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pyramidflow.cli.options import Device, ReportFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyramidflow.data import Category
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation.tables import Row


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Data set in MVTec AD, BTAD or VisA layout.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            help="Detector file, or a folder of them, one for each category.",
            show_default=False,
        ),
    ],
    output: ReportFolder,
    category: Annotated[
        str | None,
        typer.Option(
            help="Category of the data set.", show_default="the one that a detector was trained on"
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure detectors on the test images of their categories.

    Writes metrics.csv and metrics.md (a row for each category and their mean), and for each
    category an HTML report and scores.jsonl.
    """
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    from pyramidflow.cli.summary import training_facts
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation import evaluate as evaluate_category
    from pyramidflow.evaluation import table_rows, write_csv, write_markdown
    from pyramidflow.inspection import write_evaluation_report, write_scores

    evaluations = []
    for file in _detector_files(model):
        detector = Detector.load(file, device=device)
        dataset = _open_category(data, category, detector)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(dataset.name, total=len(dataset.test))
            evaluation = evaluate_category(detector, dataset, partial(bar.advance, task))
        folder = output / dataset.name
        facts = training_facts(detector) | {"test time": f"{evaluation.seconds:.1f} s"}
        write_evaluation_report(detector, evaluation, list(facts.items()), folder / "report.html")
        write_scores(evaluation, folder / "scores.jsonl")
        evaluations.append(evaluation)
    rows = table_rows(evaluations)
    write_csv(rows, output / "metrics.csv")
    write_markdown(rows, output / "metrics.md")
    print_table(rows)
    typer.echo(f"written to {output}: metrics.csv, metrics.md, CATEGORY/report.html")


def _detector_files(model: Path) -> list[Path]:
    from pyramidflow.errors import InputError

    if not model.is_dir():
        return [model]
    files = sorted(
        file
        for file in model.glob("*.safetensors")
        if not file.name.endswith(".checkpoint.safetensors")
    )
    if not files:
        raise InputError(f"there is no detector file (*.safetensors) in {model}: train one first.")
    return files


def _open_category(data: Path, category: str | None, detector: "Detector") -> "Category":
    from pyramidflow.data import list_categories, open_dataset

    if category is None and len(list_categories(data)) > 1:
        category = detector.training["category"]
    return open_dataset(data, category)


def print_table(rows: "Sequence[Row]") -> None:
    """Print the per-category table in parts that fit a terminal: pixels, images, runs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from pyramidflow.evaluation import SETTINGS, formatted

    about_pixels = [key for key in rows[0] if key.startswith(("pixel", "aupro"))]
    others = {"category", *SETTINGS, *about_pixels}
    about_images = [key for key in rows[0] if key not in others]
    for keys in (about_pixels, about_images, SETTINGS):
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for key in ("category", *keys):
            heading = key.replace("_", "\n").replace("@", "\n@")
            justify: Literal["left", "right"] = "left" if key == "category" else "right"
            table.add_column(heading, justify=justify, no_wrap=True)
        for row in rows:
            cells = formatted(row)
            table.add_row(*(cells[key] for key in ("category", *keys)))
        Console().print(table)
