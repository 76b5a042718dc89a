"""Whether settings that are chosen on good images alone are those that find real defects.

``python -m benchmarks.tuning DATA --images 60 --held-out 16 --epochs 4 --train image_size=160x64
--train image_size=101 --set light=true --set spread=pixel`` trains once for each ``--train`` and
measures each comparison twice: by the criterion of ``pyramidflow train --tune``, on held-out good
images with drawn defects, and on the data set's test images. The criterion never sees a test image;
the rank correlation says whether it orders the settings as the test images do.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks import report
from benchmarks.quality import detector_of, parsed, sampled, trained
from pyramidflow.data import Category, open_dataset
from pyramidflow.detector import Session
from pyramidflow.detector.fitting import decoding_of
from pyramidflow.evaluation import evaluate
from pyramidflow.tuning.exam import Exam

RESULT = Path(__file__).parent / "results" / "tuning.md"

METHOD = """\
In per cent. Left the criterion and what it is made of, on held-out good images and copies of them
with drawn defects, with its standard error over draws of the held-out images; spread is the
deviation of the good images' scores, of their mean. Right the same networks on the test images.
Sizes and strengths of the drawn defects and the criterion's weights were set with real defects of
KolektorSDD and magnetic tiles in view: on these sets the correlation is no independent test.
"""

DRAWN = ("criterion", "aupro", "pixel_ap", "image_auroc", "spread")
REAL = ("aupro@0.3", "pixel_ap", "image_auroc", "pixel_auroc")


def split(data: Category, held_out: int) -> tuple[Category, list[Path]]:
    """The data with fewer images to train on, and those that it lacks."""
    order = np.random.default_rng(1).permutation(len(data.train))
    chosen = sorted(order[:held_out].tolist())
    rest = tuple(path for index, path in enumerate(data.train) if index not in set(chosen))
    return replace(data, train=rest), [data.train[index] for index in chosen]


def cases(
    data: Category, held_out: Sequence[Path], options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each pair of training and comparison, and what was measured."""
    for trains in options.train or [[]]:
        subject = trained(data, parsed(trains) | {"epochs": options.epochs}, options.device)
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
    heads = ["criterion", "AUPRO", "AP", "image AUROC", "spread"]
    reals = ["AUPRO@0.3", "pixel AP", "image AUROC", "pixel AUROC"]
    lines = [f"| | {' | '.join(heads)} | | {' | '.join(f'real {name}' for name in reals)} |"]
    lines.append(f"|---|{'---:|' * len(heads)}---|{'---:|' * len(reals)}")
    for name, row in found.items():
        drawn = [f"{100 * row[key]:.1f}" for key in DRAWN]
        drawn[0] += f" ± {100 * row['error']:.1f}"
        real = [f"{100 * row['real'][key]:.1f}" for key in REAL]
        lines.append(f"| {name} | {' | '.join(drawn)} | | {' | '.join(real)} |")
    lines += ["", "Rank correlation over all rows:", ""]
    lines += [f"| | {' | '.join(f'real {name}' for name in reals)} |"]
    lines += [f"|---|{'---:|' * len(reals)}"]
    for part, row in correlations(list(found.values())).items():
        lines.append(f"| {part} | {' | '.join(f'{row[key]:+.2f}' for key in REAL)} |")
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("data", type=Path, help="data set with test images")
    parser.add_argument("--category", help="where the data set has several")
    parser.add_argument("--images", type=int, default=60, help="to train on")
    parser.add_argument("--held-out", type=int, default=16, help="good images beside them")
    parser.add_argument("--good", type=int, default=60, help="good test images, at most")
    parser.add_argument("--defects", type=int, default=100, help="defective ones, at most")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn defects")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    settings = {"nargs": "+", "action": "append", "metavar": "NAME=VALUE"}
    parser.add_argument("--train", **settings, help="settings of a training; may be repeated")
    parser.add_argument(
        "--set", **settings, default=[], help="settings of a comparison; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="Markdown file")
    return parser.parse_args(arguments)


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
    facts = report.facts("benchmarks.tuning", arguments, options.threads)
    tests = f"{len(data.test)} ({sum(sample.is_defective for sample in data.test)} defective)"
    facts |= {"data": data.name, "training images": len(data.train), "held out": len(held_out)}
    facts |= {"test images": tests, "epochs": options.epochs}
    report.write(
        options.output,
        f"Settings chosen on good images of {data.name}, and what they find",
        facts,
        [*METHOD.splitlines(), "", *tables(found)],
        found,
    )


if __name__ == "__main__":
    main()
