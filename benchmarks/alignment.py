"""What alignment brings: how exactly poses are found, how fast, and what is detected with it.

``python -m benchmarks.alignment DATA…`` measures poses and a detector on drawn screws that lie
anyhow, and detectors on data sets with test images (``DATA=640x256`` for another image size), as
they lie and aligned by a shift; it writes ``benchmarks/results/alignment.md`` and ``.json``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.quality import COLUMNS, sampled
from benchmarks.screws import DEFECTS, pose_of, screw, write_screws
from pyramidflow import Detector
from pyramidflow.alignment import Pose, PoseSearch
from pyramidflow.alignment.pose import to_float, within_turn
from pyramidflow.data import Category, open_dataset
from pyramidflow.evaluation import evaluate
from pyramidflow.spec import PLAIN_CONTRAST

RESULT = Path(__file__).parent / "results" / "alignment.md"

METHOD = """\
Poses: screws drawn at any angle, up to a tenth of the width off, in changing light, some with a
defect, against one good screw; "pixels" and "degrees" are differences to the pose that was drawn,
median and largest; "ms" is processor time on one thread, median. Detection: in per cent, one seed,
the last epoch; "for review" are test images without a pose. "off" is how far good parts lie off,
"good scores" their mean against each other, as they lie and aligned, both as a training says them.
"""


def poses(size: int, count: int) -> dict[str, float]:
    """Errors of the poses of drawn screws, and the time that one takes."""
    rng = np.random.default_rng(0)
    reference, _ = screw(rng, size, Pose())
    search = PoseSearch(to_float(reference), 1.0, 0.25, 180.0)
    pixels, degrees, seconds = [], [], []
    for index in range(count):
        true, kind = pose_of(rng), (None, *DEFECTS)[index % 4]
        picture = to_float(screw(rng, size, true, kind)[0])
        started = time.process_time()
        found = search.find(picture).pose
        seconds.append(time.process_time() - started)
        pixels.append(size * float(np.hypot(found.x - true.x, found.y - true.y)))
        degrees.append(abs(within_turn(found.angle - true.angle)))
    return {
        "pixels": float(np.median(pixels)),
        "most_pixels": max(pixels),
        "degrees": float(np.median(degrees)),
        "most_degrees": max(degrees),
        "milliseconds": 1e3 * float(np.median(seconds)),
    }


def detected(data: Category, settings: dict[str, Any]) -> dict[str, Any]:
    """Metrics of a detector, and what its training says about poses."""
    detector = Detector(device="cpu", **settings).fit(data, show_progress=False)
    found, training = evaluate(detector, data), detector.training
    return {
        **found.metrics.as_dict(),
        "review": found.reviews,
        "tests": len(found.measured),
        "milliseconds": 1e3 * found.seconds / len(found.measured),
        **{key: training[key] for key in ("shift", "angle", "lying_scores", "aligned_scores")},
    }


def pose_table(found: dict[int, dict[str, float]]) -> list[str]:
    """Errors and times as a Markdown table, a row for each size."""
    lines = ["| size | pixels | degrees | ms |", "|---|---:|---:|---:|"]
    for size, row in found.items():
        pixels = f"{row['pixels']:.3f} ({row['most_pixels']:.3f})"
        degrees = f"{row['degrees']:.3f} ({row['most_degrees']:.3f})"
        lines.append(f"| {size} | {pixels} | {degrees} | {row['milliseconds']:.0f} |")
    return lines


def detection_table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Detectors as a Markdown table, a row for each."""
    others = ("for review", "ms", "off", "good scores")
    lines = [f"| | {' | '.join((*COLUMNS, *others))} |"]
    lines.append(f"|---|{'---:|' * (len(COLUMNS) + len(others))}")
    for name, row in found.items():
        cells = [f"{100 * row[key]:.1f}" for key in COLUMNS.values()]
        cells += [f"{row['review']} of {row['tests']}", f"{row['milliseconds']:.0f}"]
        cells += ["–", "–"] if row["shift"] is None else _said(row)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _said(row: dict[str, Any]) -> list[str]:
    lying, aligned = row["lying_scores"][0], row["aligned_scores"][0]
    return [f"{row['shift']:.1%}, {row['angle']:.1f}°", f"{lying:.3g}, {aligned:.3g}"]


CONTRASTS = {
    "template alone": PLAIN_CONTRAST.as_dict(),
    "light True, spread pixel": {"light": True, "spread": "pixel"},
}


def cases(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Every detector that is measured, by name."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, data: Category, **settings: Any) -> None:
        for said, contrast in CONTRASTS.items():
            full = f"{name}, align {settings['align']}, {said}"
            found[full] = detected(data, settings | contrast | {"epochs": options.epochs})
            print(*detection_table({full: found[full]})[2:], flush=True)

    screws = write_screws(folder / "screws", options.size, options.images, options.images // 4)
    for align in ("none", "turn"):
        add("screws", open_dataset(screws), image_size=options.size, align=align)
    for given in options.data:
        root, _, size = given.partition("=")
        data = sampled(open_dataset(Path(root)), options.images, 30, 40)
        for align in ("none", "shift"):
            add(data.name, data, image_size=size or options.size, align=align)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the two files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument("data", nargs="*", help="data sets, with =SIZE for another image size")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=48, help="to train on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--poses", type=int, default=80, help="to find, at each size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULT, help="Markdown file")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    found = {size: poses(size, options.poses) for size in (96, 256, 512)}
    print(*pose_table(found), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        detectors = cases(options, Path(folder))
    # The sets by their names: where they lie says nothing to others.
    options_given = [text for text in given if text not in options.data]
    shown = [Path(text).name for text in options.data] + options_given
    facts = report.facts("benchmarks.alignment", shown, options.threads) | {
        "training images": options.images,
        "epochs": options.epochs,
        "image size": options.size,
    }
    text = [*METHOD.splitlines(), "", *pose_table(found), "", *detection_table(detectors)]
    numbers: dict[str, Any] = {f"poses at {size}": row for size, row in found.items()}
    report.write(options.output, "Alignment", facts, text, numbers | detectors)


if __name__ == "__main__":
    main()
