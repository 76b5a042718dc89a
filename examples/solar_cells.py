"""Find defective solar cells: image-AUROC on the electroluminescence images of ``elpv-dataset``.

Needs ``pip install elpv-dataset`` (2,624 cells, 300×300, CC BY-NC-SA; Buerhop-Lutz et al., 2018).
Trains on monocrystalline cells that the experts found free of defects (probability 0) and tests on
further such cells against cells that are surely defective (probability 1). Prints and writes the
result::

    python examples/solar_cells.py --output solar-cells
"""

import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np

from pyramidflow import Detector
from pyramidflow.data import Category, Sample
from pyramidflow.evaluation import evaluate, table_rows, write_csv, write_markdown
from pyramidflow.evaluation.report import write_evaluation_report


def monocrystalline_cells(train_share: float, seed: int) -> Category:
    """Cells of ``elpv-dataset``: a random share of the good ones trains, the others test."""
    folder = Path(str(files("elpv_dataset") / "data"))
    with (folder / "labels.csv").open() as table:
        rows = [line.split() for line in table]
    by_probability = {
        label: [
            folder / path for path, probability, kind in rows if (float(probability), kind) == label
        ]
        for label in ((0.0, "mono"), (1.0, "mono"))
    }
    good = by_probability[0.0, "mono"]
    order = np.random.default_rng(seed).permutation(len(good))
    count = round(train_share * len(good))
    train = sorted(good[i] for i in order[:count])
    test = [Sample(path, "good", False, None) for path in sorted(good[i] for i in order[count:])]
    test += [Sample(path, "defective", True, None) for path in by_probability[1.0, "mono"]]
    return Category("solar_cells", folder, "folder", tuple(train), tuple(test))


def main() -> None:
    """Train, evaluate, write detector, table and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("solar-cells"))
    parser.add_argument("--train-share", type=float, default=0.7)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--volume-norm", choices=["cvn", "svn"], default="cvn")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()

    cells = monocrystalline_cells(arguments.train_share, arguments.seed)
    detector = Detector(
        arguments.image_size, volume_norm=arguments.volume_norm, seed=arguments.seed
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    detector.fit(
        cells,
        epochs=arguments.epochs,
        checkpoint=arguments.output / "detector.checkpoint.safetensors",
        resume=arguments.resume,
    )
    detector.save(arguments.output / "detector.safetensors")
    evaluation = evaluate(detector, cells)
    rows = table_rows([evaluation])
    write_csv(rows, arguments.output / "metrics.csv")
    write_markdown(rows, arguments.output / "metrics.md")
    write_evaluation_report(detector, evaluation, [], arguments.output / "report.html")
    print(f"image AUROC {evaluation.metrics.image_auroc:.4f}, written to {arguments.output}")


if __name__ == "__main__":
    main()
