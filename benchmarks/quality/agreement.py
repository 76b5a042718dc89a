"""How much pictures agree with a reference: those that it was learned from, and those without it.

``python -m benchmarks.quality.agreement DATA…`` learns a reference from each data set and from
drawn screws, and measures how much its good images agree with it, and pictures of everything else;
it writes ``benchmarks/results/agreement.md`` and ``.json``. They are what
:data:`pyramidflow.alignment.reference.LEAST_COMMON` was chosen by.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.quality.screws import pose_of, screw
from pyramidflow.alignment import Aligner, learned
from pyramidflow.data import ImageSet, Pixels, open_dataset
from pyramidflow.errors import InputError
from pyramidflow.spec import AlignmentRule

METHOD = """\
Agreement with the mean of the good images. Good: of these images, the median and the smallest;
below the limit that follows a part has no pose. Others: the largest of pictures without such a
part. Empty is a ground with a camera's noise; the rest are pictures of the other sets. A set
without a pose in common has no row of its own.
"""


def pictures_of(sets: Sequence[Path], size: int, count: int) -> dict[str, list[Pixels]]:
    """Good images by set, as they lie, and drawn screws."""
    rng = np.random.default_rng(0)
    found: dict[str, list[Pixels]] = {
        "screws": [screw(rng, size, pose_of(rng))[0] for _ in range(count)]
    }
    for root in sets:
        paths = open_dataset(root).train[:count]
        images = ImageSet(paths, size)
        found[root.name] = [images[index] for index in range(len(images))]
    return found


def without_a_part(size: int, count: int) -> dict[str, list[Pixels]]:
    """Pictures that show nothing."""
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (size, size, 3)).astype(np.uint8) for _ in range(count)]
    empty = [(200 + rng.normal(0, 3, (size, size, 3))).astype(np.uint8) for _ in range(count)]
    return {"noise": noise, "empty": empty}


def agreements(pictures: dict[str, list[Pixels]], size: int, count: int) -> dict[str, Any]:
    """Of each set's own images, and of all others, with its reference, by alignment."""
    found: dict[str, Any] = {}
    everything = pictures | without_a_part(size, count)
    for name, good in pictures.items():
        for align in ("shift", "turn"):
            rule = AlignmentRule(align)
            try:
                known = learned(good, rule, 1.0)
            except InputError:  # no pose in common
                continue
            own = [each.agreement for each in known.found]
            aligner = Aligner(known.reference, rule)
            found[f"{name}, {align}"] = {
                "median": float(np.median(own)),
                "least": min(own),
                "limit": known.reference.facts.limit,
                "others": {
                    other: max(aligner.found_in(picture).agreement for picture in others)
                    for other, others in everything.items()
                    if other != name
                },
            }
    return found


def table(found: dict[str, Any]) -> list[str]:
    """Agreements as a Markdown table, a row for each reference."""
    others = list(dict.fromkeys(name for row in found.values() for name in row["others"]))
    rows = [
        [
            name,
            *(f"{row[key]:.2f}" for key in ("median", "least", "limit")),
            *(f"{row['others'][other]:.2f}" if other in row["others"] else "" for other in others),
        ]
        for name, row in found.items()
    ]
    return results.table(["", "good", "least good", "limit", *others], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the two files."""
    parser = common.parser("benchmarks.quality.agreement", __doc__, "agreement")
    parser.add_argument("data", nargs="*", type=Path, help="data sets of one category")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=40, help="of each set")
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    pictures = pictures_of(options.data, options.size, options.images)
    found = agreements(pictures, options.size, options.images)
    text = [*METHOD.splitlines(), "", *table(found)]
    facts = {"image size": options.size, "images of a set": options.images}
    results.write(options, "Agreement", text, found, facts)


if __name__ == "__main__":
    main()
