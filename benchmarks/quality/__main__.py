"""What a detector finds on a data set: several contrasts of one training, several seeds.

``python -m benchmarks.quality DATA --images 60 --epochs 8 --seeds 0 1 2 --train reduction=max --set
light=true spread=pixel --set smoothing=2`` trains once for each seed and each ``--train``, and
compares with the template in each way that a ``--set`` names; all but the comparison is the same.
The last epoch counts, and no test image is looked at before. The files are written anew after each
comparison, so that a run that is stopped leaves what it has.
"""

import statistics
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.quality.measure import (
    COLUMNS,
    COMPARED,
    add_options,
    measured,
    parsed,
    sampled,
    test_images,
    trained,
)
from pyramidflow.data import Category, open_dataset

METHOD = """\
Medians over the seeds, in per cent, and behind them the smallest and the largest. Training: seconds
of one; inspection: milliseconds of an image, reading and resizing included; memory: the process's
peak by then, in MB.
"""


def cases(data: Category, options: Namespace) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What each seed gave for each pair of training and comparison, anew with every comparison."""
    found: dict[str, list[dict[str, Any]]] = {}
    for trains in options.train or [[]]:
        settings = {"epochs": options.epochs} | parsed(trains)
        for seed in options.seeds:
            subject = trained(data, settings | {"seed": seed}, options.device)
            for changed in [[], *options.set]:
                name = f"{' '.join(trains) or 'defaults'}; {' '.join(changed) or 'as trained'}"
                row = measured(data, subject, parsed(changed))
                found.setdefault(name, []).append(row)
                print(
                    name, seed, *(f"{100 * row[key]:.2f}" for key in COLUMNS.values()), flush=True
                )
                yield found


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Cases as a Markdown table."""
    heads = ["", *COLUMNS, "seeds", "training", "inspection", "memory"]
    return results.table(heads, [[name, *_cells(rows)] for name, rows in found.items()])


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    cells = [_cell([100 * row[key] for row in rows]) for key in COLUMNS.values()]
    cells.append(f"{len(rows)}")
    cells.append(f"{statistics.median(row['training_seconds'] for row in rows):.0f} s")
    cells.append(f"{statistics.median(row['milliseconds'] for row in rows):.0f} ms")
    memory = [row["peak_megabytes"] for row in rows if row["peak_megabytes"] is not None]
    return [*cells, f"{max(memory):.0f}" if memory else "?"]


def _cell(values: list[float]) -> str:
    median = f"{statistics.median(values):.1f}"
    return median if len(values) == 1 else f"{median} ({min(values):.1f} to {max(values):.1f})"


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Options of the command line."""
    parser = common.parser("benchmarks.quality", __doc__, "quality")
    add_options(parser, epochs=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = common.parse(parser, arguments)
    for changed in options.set:
        for name in parsed(changed):
            if name not in COMPARED:
                parser.error(f"{name} needs a training of its own: give it with --train")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write the two files."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    data = sampled(
        open_dataset(options.data, options.category), options.images, options.good, options.defects
    )
    facts = {"data": data.name, "training images": len(data.train)}
    facts |= {"test images": test_images(data), "epochs": options.epochs, "seeds": options.seeds}
    title = f"What is found on {data.name}"
    for found in cases(data, options):
        text = [*METHOD.splitlines(), "", *table(found)]
        seeds = {name: {"seeds": rows} for name, rows in found.items()}
        results.write(options, title, text, seeds, facts)


if __name__ == "__main__":
    main()
