"""What rounding changes in the scores of trained detectors: the tolerance above a threshold.

``python -m benchmarks.quality.tolerance FOLDER…`` trains a detector on each data set (MVTec AD
layout) and writes ``benchmarks/results/tolerance.md`` and ``.json``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from pyramidflow import Detector, ops
from pyramidflow.data import Category, open_dataset, read_image, resize_image, stack
from pyramidflow.detector.calibration import TOLERANCES
from pyramidflow.model import Contrast
from pyramidflow.ops.libraries.cpu import has_bfloat16
from pyramidflow.runtime import TrainedNetwork
from pyramidflow.runtime.cuda.frozen import FrozenNetwork

METHOD = """\
A detector is trained on the first good images of each set. Then the same test images are scored in
every precision; a number is the largest relative difference to the scores of the compiled CPU
operations in float32. Half and bfloat16 "throughout" are the GPU runtime's arithmetic (weights and
features in the type, sums in float32), run on the CPU. "bfloat16" is the CPU runtime's: only the
operands of its products are rounded. The tolerance is what `calibration.py` allows.
"""

THROUGHOUT = {"half": torch.float16, "bfloat16": torch.bfloat16}


def scores(detector: Detector, paths: Sequence[Path]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score of each image."""
    return np.array([found.score for found in detector.inspect(list(paths))])


def scores_throughout(
    detector: Detector, paths: Sequence[Path], dtype: torch.dtype
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score of each image with weights and features in a type."""
    preprocessing, template = detector.preprocessing, detector.template
    assert template is not None
    contrast = Contrast(template)
    trained = TrainedNetwork(detector.model, contrast, preprocessing.mean, preprocessing.std)
    network = FrozenNetwork(trained, torch.device("cpu"), dtype)
    found = []
    with ops.use_backend("reference"):
        for path in paths:
            pixels = resize_image(read_image(path), preprocessing.size)
            found.append(float(network(stack([pixels])).amax()))
    return np.array(found)


def compare(data: Category, size: int, images: int, epochs: int) -> dict[str, float]:
    """Largest relative difference of a score, by what is compared with float32."""
    subset = Category(data.name, data.root, data.layout, data.train[:images], ())
    detector = Detector(size, epochs=epochs, validation_share=0.0, device="cpu")
    detector.fit(subset, show_progress=False)
    paths = [sample.path for sample in data.test][:: max(1, len(data.test) // images)]
    exact = scores(detector, paths)
    found = {}
    with ops.use_backend("reference"):
        found["float32, plain PyTorch"] = scores(detector, paths)
    if has_bfloat16():
        detector.prepare(precision="bfloat16")
        found["bfloat16, CPU runtime"] = scores(detector, paths)
    for name, dtype in THROUGHOUT.items():
        found[f"{name}, throughout"] = scores_throughout(detector, paths, dtype)
    return {name: float(np.abs(values / exact - 1).max()) for name, values in found.items()}


def table(cases: dict[str, dict[str, float]]) -> list[str]:
    """Differences as a Markdown table: a row for each arithmetic, a column for each set."""
    rows = []
    for name in sorted({name for found in cases.values() for name in found}):
        cells = [f"{found[name]:.1e}" if name in found else "–" for found in cases.values()]
        rows.append([name, *cells, f"{TOLERANCES[name.partition(',')[0]]:.0e}"])
    return results.table(["", *cases, "tolerance"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare, and write the two files."""
    parser = common.parser("benchmarks.quality.tolerance", __doc__, "tolerance")
    parser.add_argument("data", type=Path, nargs="+", help="data sets in MVTec AD layout")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=3)
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    cases = {}
    for root in options.data:
        data = open_dataset(root)
        cases[data.name] = compare(data, options.size, options.images, options.epochs)
    facts = {"image size": options.size, "training images": options.images}
    text = [*METHOD.splitlines(), "", *table(cases)]
    results.write(options, "Scores under rounding", text, cases, facts | {"epochs": options.epochs})


if __name__ == "__main__":
    main()
