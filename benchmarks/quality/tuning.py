"""Whether settings that are chosen on good images alone are those that find real defects.

``python -m benchmarks.quality.tuning DATA --images 60 --held-out 16 --epochs 4 --train
image_size=160x64 --train image_size=101 --set light=true --set spread=pixel`` trains once for each
``--train`` and measures each comparison twice: by the criterion of ``pyramidflow train --tune``, on
held-out good images with drawn defects, and on the data set's test images. The criterion never sees
a test image; the rank correlation says whether it orders the settings as the test images do.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.quality.measure import (
    add_options,
    detector_of,
    parsed,
    sampled,
    test_images,
    trained,
)
from pyramidflow.data import Category, open_dataset
from pyramidflow.detector import Session
from pyramidflow.detector.fitting import decoding_of
from pyramidflow.evaluation import evaluate
from pyramidflow.tuning.exam import Exam

METHOD = """\
In per cent. Left the criterion and what it is made of, on held-out good images and copies of them
with drawn defects, with its standard error over draws of the held-out images; spread is the
deviation of the good images' scores, of their mean. Right the same networks on the test images.
Sizes and strengths of the drawn defects and the criterion's weights were set with real defects of
KolektorSDD and magnetic tiles in view: on these sets the correlation is no independent test.
"""

DRAWN = ("criterion", "aupro", "pixel_ap", "image_auroc", "spread")
REAL = ("aupro@0.3", "pixel_ap", "image_auroc", "pixel_auroc")

LEAST_ROWS = 3
"""That a rank correlation is taken of: that of two is 1 or -1, whatever they are."""


def split(data: Category, held_out: int) -> tuple[Category, list[Path]]:
    """The data with fewer images to train on, and those that it lacks."""
    order = np.random.default_rng(1).permutation(len(data.train))
    chosen = sorted(order[:held_out].tolist())
    rest = tuple(path for index, path in enumerate(data.train) if index not in set(chosen))
    return replace(data, train=rest), [data.train[index] for index in chosen]


def cases(
    data: Category, held_out: Sequence[Path], options: Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each pair of training and comparison, and what was measured."""
    for trains in options.train or [[]]:
        subject = trained(data, {"epochs": options.epochs} | parsed(trains), options.device)
        exam = Exam(held_out, decoding_of(subject.spec, None), options.seed)
        for compared in [[], *options.set]:
            name = f"{' '.join(trains) or 'defaults'}; {' '.join(compared) or 'as trained'}"
            artifact = subject.artifact(parsed(compared))
            started = time.perf_counter()
            answers = exam.taken_by(Session(artifact, torch.device(options.device)))
            row: dict[str, Any] = {
                name: float(getattr(answers.parts, name)[0]) for name in DRAWN
            } | {
                "error": float(answers.resampled.criterion.std()),
                "seconds": time.perf_counter() - started,
                "real": evaluate(detector_of(artifact), data).metrics.as_dict(),
            }
            numbers = [row[key] for key in DRAWN] + [row["real"][key] for key in REAL]
            print(name, *(f"{100 * number:.1f}" for number in numbers), flush=True)
            yield name, row


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Spearman's rank correlation of each part with each real metric."""
    return {
        part: {
            metric: float(
                stats.spearmanr(
                    [row[part] for row in rows], [row["real"][metric] for row in rows]
                ).statistic
            )
            for metric in REAL
        }
        for part in DRAWN
    }


def tables(found: dict[str, dict[str, Any]]) -> list[str]:
    """Cases and correlations as Markdown tables."""
    reals = [f"real {name}" for name in ("AUPRO@0.3", "pixel AP", "image AUROC", "pixel AUROC")]
    heads = ["", "criterion", "AUPRO", "AP", "image AUROC", "spread", "", *reals]
    lines = results.table(heads, [[name, *_cells(row)] for name, row in found.items()])
    if len(found) < LEAST_ROWS:
        return lines
    lines += ["", "Rank correlation over all rows:", ""]
    correlated = correlations(list(found.values()))
    rows = [[part, *(f"{row[key]:+.2f}" for key in REAL)] for part, row in correlated.items()]
    return lines + results.table(["", *reals], rows)


def _cells(row: dict[str, Any]) -> list[str]:
    drawn = [f"{100 * row[key]:.1f}" for key in DRAWN]
    drawn[0] += f" ± {100 * row['error']:.1f}"
    return [*drawn, "", *(f"{100 * row['real'][key]:.1f}" for key in REAL)]


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Options of the command line."""
    parser = common.parser("benchmarks.quality.tuning", __doc__, "tuning")
    add_options(parser, epochs=4)
    parser.add_argument("--held-out", type=int, default=16, help="good images beside --images")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn defects")
    return common.parse(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, and write the two files."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    chosen = sampled(
        open_dataset(options.data, options.category),
        options.images + options.held_out,
        options.good,
        options.defects,
    )
    data, held_out = split(chosen, options.held_out)
    found = dict(cases(data, held_out, options))
    facts = {"data": data.name, "training images": len(data.train), "held out": len(held_out)}
    facts |= {"test images": test_images(data), "epochs": options.epochs}
    title = f"Settings chosen on good images of {data.name}, and what they find"
    results.write(options, title, [*METHOD.splitlines(), "", *tables(found)], found, facts)


if __name__ == "__main__":
    main()
