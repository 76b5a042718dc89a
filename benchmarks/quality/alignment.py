"""What alignment brings: how exactly poses are found, how fast, and what is detected with it.

``python -m benchmarks.quality.alignment DATA…`` measures poses and a detector on drawn screws that
lie anyhow, and detectors on data sets with test images (``DATA=640x256`` for another image size),
as they lie and aligned by a shift; it writes ``benchmarks/results/alignment.md`` and ``.json``.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.quality.measure import COLUMNS, sampled
from benchmarks.quality.screws import DEFECTS, pose_of, screw, write_screws
from pyramidflow import Detector
from pyramidflow.alignment import Pose, PoseSearch
from pyramidflow.alignment.pose import to_float, within_turn
from pyramidflow.data import Category, open_dataset
from pyramidflow.evaluation import evaluate
from pyramidflow.spec import PLAIN_CONTRAST

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
    rows = [
        [
            str(size),
            f"{row['pixels']:.3f} ({row['most_pixels']:.3f})",
            f"{row['degrees']:.3f} ({row['most_degrees']:.3f})",
            f"{row['milliseconds']:.0f}",
        ]
        for size, row in found.items()
    ]
    return results.table(["size", "pixels", "degrees", "ms"], rows)


def detection_table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Detectors as a Markdown table, a row for each."""
    rows = []
    for name, row in found.items():
        cells = [f"{100 * row[key]:.1f}" for key in COLUMNS.values()]
        cells += [f"{row['review']} of {row['tests']}", f"{row['milliseconds']:.0f}"]
        rows.append([name, *cells, *(["–", "–"] if row["shift"] is None else _said(row))])
    return results.table(["", *COLUMNS, "for review", "ms", "off", "good scores"], rows)


def _said(row: dict[str, Any]) -> list[str]:
    lying, aligned = row["lying_scores"][0], row["aligned_scores"][0]
    return [f"{row['shift']:.1%}, {row['angle']:.1f}°", f"{lying:.3g}, {aligned:.3g}"]


CONTRASTS = {
    "template alone": PLAIN_CONTRAST.as_dict(),
    "light True, spread pixel": {"light": True, "spread": "pixel"},
}


def cases(options: Namespace, folder: Path) -> dict[str, dict[str, Any]]:
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
    parser = common.parser("benchmarks.quality.alignment", __doc__, "alignment")
    parser.add_argument("data", nargs="*", help="data sets, with =SIZE for another image size")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=48, help="to train on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--poses", type=int, default=80, help="to find, at each size")
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    found = {size: poses(size, options.poses) for size in (96, 256, 512)}
    print(*pose_table(found), sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        detectors = cases(options, Path(folder))
    facts = {
        "training images": options.images,
        "epochs": options.epochs,
        "image size": options.size,
    }
    text = [*METHOD.splitlines(), "", *pose_table(found), "", *detection_table(detectors)]
    numbers: dict[str, Any] = {f"poses at {size}": row for size, row in found.items()}
    results.write(options, "Alignment", text, numbers | detectors, facts)


if __name__ == "__main__":
    main()
