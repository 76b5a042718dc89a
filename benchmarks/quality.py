"""What a detector finds on a data set: several contrasts of one training, several seeds.

``python -m benchmarks.quality DATA --images 60 --epochs 8 --seeds 0 1 2 --train reduction=max --set
light=true spread=pixel --set smoothing=2`` trains once for each seed and each ``--train``, and
compares with the template in each way that a ``--set`` names; all but the comparison is the same.
The last epoch counts, and no test image is looked at before. The files are written anew after each
comparison, so that a run that is stopped leaves what it has.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from pyramidflow import Detector
from pyramidflow.cli.summary import peak_memory
from pyramidflow.data import Category, open_dataset
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.fitting import Fitted, Run, compared, fit
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.spec import ContrastRule, Spec, VerdictRule, names

RESULT = Path(__file__).parent / "results" / "quality.md"

METHOD = """\
Medians over the seeds, in per cent, and behind them the smallest and the largest. Training: seconds
of one; inspection: milliseconds of an image, reading and resizing included; memory: the process's
peak by then, in MB.
"""

COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO@0.3": "aupro@0.3",
    "AUPRO@1.0": "aupro@1.0",
    "pixel AP": "pixel_ap",
    "image AUROC": "image_auroc",
}

COMPARED = {f.name for rule in (ContrastRule, VerdictRule) for f in fields(rule)}
"""Settings that need no other training."""


@dataclass(frozen=True)
class Trained:
    """A trained network with the images that it was trained on.

    Attributes:
        fitted: the training's result.
        seconds: that the training took.
    """

    fitted: Fitted
    seconds: float

    @property
    def spec(self) -> Spec:
        """With which it was trained."""
        return self.fitted.artifact.spec

    def artifact(self, settings: dict[str, Any]) -> Artifact:
        """The same network, comparing in another way."""
        spec = self.spec.changed(**settings)
        return compared(self.fitted.artifact, spec, self.fitted.images)


def detector_of(artifact: Artifact) -> Detector:
    """The detector; its threshold means nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "part.safetensors"
        artifact.write(file)
        found = Detector.load(file, device=next(artifact.network.parameters()).device)
    found.threshold = 1.0
    return found


def sampled(data: Category, images: int, good: int, defects: int) -> Category:
    """The same random part of a data set on every run: of its training images and of its tests."""

    def some(items: Sequence[Any], count: int) -> tuple[Any, ...]:
        order = np.random.default_rng(0).permutation(len(items))[:count]
        return tuple(items[index] for index in sorted(order))

    defective = [sample for sample in data.test if sample.is_defective]
    fine = [sample for sample in data.test if not sample.is_defective]
    tests = (*some(fine, good), *some(defective, defects))
    return replace(data, train=some(data.train, images), test=tests)


def trained(data: Category, settings: dict[str, Any], device: str) -> Trained:
    """Train a network on all the training images."""
    spec = Spec.of({"validation_share": 0.0, **settings})
    start = time.perf_counter()
    fitted = fit(Detector(spec=spec, device=device).model, spec, data, Run(show_progress=False))
    seconds = time.perf_counter() - start
    return Trained(fitted, seconds)


def measured(data: Category, subject: Trained, settings: dict[str, Any]) -> dict[str, Any]:
    """Metrics, times and memory of one comparison."""
    found = evaluate(detector_of(subject.artifact(settings)), data)
    memory = peak_memory()
    return {
        "seed": subject.spec.recipe.seed,
        **found.metrics.as_dict(),
        "failures": len(found.failures),
        "training_seconds": subject.seconds,
        "milliseconds": 1e3 * found.seconds / len(found.outcomes),
        "peak_megabytes": None if memory is None else memory / 1e6,
    }


def cases(data: Category, options: argparse.Namespace) -> Iterator[dict[str, list[dict[str, Any]]]]:
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


def parsed(given: Sequence[str]) -> dict[str, Any]:
    """Settings from ``NAME=VALUE``, as the spec's types have them."""
    known, found = names(), {}
    for setting in given:
        name, _, value = setting.partition("=")
        if name not in known:
            raise InputError(f"{setting!r} names no setting: choose from {', '.join(known)}.")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Cases as a Markdown table."""
    lines = [f"| | {' | '.join(COLUMNS)} | seeds | training | inspection | memory |"]
    lines.append(f"|---|{'---:|' * (len(COLUMNS) + 4)}")
    for name, rows in found.items():
        cells = [_cell([100 * row[key] for row in rows]) for key in COLUMNS.values()]
        cells.append(f"{len(rows)}")
        cells.append(f"{statistics.median(row['training_seconds'] for row in rows):.0f} s")
        cells.append(f"{statistics.median(row['milliseconds'] for row in rows):.0f} ms")
        memory = [row["peak_megabytes"] for row in rows if row["peak_megabytes"] is not None]
        cells.append(f"{max(memory):.0f}" if memory else "?")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(values: list[float]) -> str:
    median = f"{statistics.median(values):.1f}"
    return median if len(values) == 1 else f"{median} ({min(values):.1f} to {max(values):.1f})"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("data", type=Path, help="data set with test images")
    parser.add_argument("--category", help="where the data set has several")
    parser.add_argument("--images", type=int, default=60, help="to train on")
    parser.add_argument("--good", type=int, default=60, help="good test images, at most")
    parser.add_argument("--defects", type=int, default=100, help="defective ones, at most")
    parser.add_argument("--epochs", type=int, default=8, help="unless --train says epochs=N")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    settings = {"nargs": "+", "action": "append", "metavar": "NAME=VALUE"}
    parser.add_argument("--train", **settings, help="settings of a training; may be repeated")
    parser.add_argument(
        "--set", **settings, default=[], help="settings of a comparison; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="Markdown file")
    options = parser.parse_args(arguments)
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
    facts = report.facts("benchmarks.quality", arguments, options.threads)
    tests = f"{len(data.test)} ({sum(sample.is_defective for sample in data.test)} defective)"
    facts |= {"data": data.name, "training images": len(data.train), "test images": tests}
    facts |= {"epochs": options.epochs, "seeds": options.seeds}
    for found in cases(data, options):
        report.write(
            options.output,
            f"What is found on {data.name}",
            facts,
            [*METHOD.splitlines(), "", *table(found)],
            {name: {"seeds": rows} for name, rows in found.items()},
        )


if __name__ == "__main__":
    main()
