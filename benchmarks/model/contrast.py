"""What each way to compare latents costs: the comparison alone, and a whole inspection.

``python -m benchmarks.model.contrast`` inspects one image on the CPU's runtime in each way, the
plain template's turn before each. Weights do not matter for time: the network is not trained, its
latents are those of noise.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.turns import in_turns, median_ratio, medians
from pyramidflow.model import Comparison, PyramidFlow
from pyramidflow.runtime import TrainedNetwork, cpu
from pyramidflow.spec import IMAGENET_MEAN, IMAGENET_STD, PLAIN_CONTRAST
from pyramidflow.training.statistics import normal_of

WAYS: dict[str, dict[str, Any]] = {
    "template": {},
    "light": {"light": True},
    "spread channel": {"spread": "channel"},
    "spread pixel": {"spread": "pixel"},
    "light, spread pixel": {"light": True, "spread": "pixel"},
    "light, spread pixel, fusion product": {
        "light": True,
        "spread": "pixel",
        "fusion": "product",
    },
    "templates 2": {"templates": 2},
    "templates 4": {"templates": 4},
    "templates 4, by image": {"templates": 4, "templates_by": "image"},
    "tolerance 1": {"tolerance": 1},
    "tolerance 2": {"tolerance": 2},
    "tolerance 3": {"tolerance": 3},
    "codebook of 2000": {"codebook": 1.0, "codebook_entries": 2000},
    "codebook of 5000": {"codebook": 1.0, "codebook_entries": 5000},
    "codebook of 10000": {"codebook": 1.0, "codebook_entries": 10_000},
    "codebook of 5000 beside the template": {
        "codebook": 1.0,
        "codebook_entries": 5000,
        "beside_template": True,
    },
}

METHOD = """\
Medians in milliseconds of processor time, all threads together: what else runs on the machine
counts for little. Comparison: from latents to the anomaly map, by the operations. Inspection: from
pixels to the map, by the CPU's runtime; its ratio is the median of the ratios to the plain
template's time, taken right before in each round.
"""


class Subject:
    """A network whose running means are known, and latents of noise to compare with.

    Args:
        size: side of the image in pixels.
        images: that there are latents of.
    """

    def __init__(self, size: int, images: int) -> None:
        torch.manual_seed(0)
        self.network = PyramidFlow()
        with torch.no_grad():
            self.network.train()(torch.randn(2, 3, size, size))
            self.network.eval()
            self.latents = [self.network(torch.randn(1, 3, size, size)) for _ in range(images)]
        self.pixels = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)

    def comparison(self, **settings: Any) -> Comparison:
        """With what the latents have in common, as the settings say."""
        rule, latents = replace(PLAIN_CONTRAST, **settings), self.latents
        normal = normal_of(self.network, latents.__getitem__, len(latents), rule)
        return normal.comparison(rule).to(self.pixels.device, torch.float32)

    def inspection(self, comparison: Comparison) -> Callable[[], Tensor]:
        """An inspection of the image by the runtime."""
        trained = TrainedNetwork(self.network, comparison, IMAGENET_MEAN, IMAGENET_STD)
        runtime = cpu.make(trained, tuple(self.pixels.shape[1:3]), images=len(self.pixels))
        return partial(runtime.inspect, self.pixels)


def measured(
    subject: Subject, plain: Callable[[], Tensor], settings: dict[str, Any], rounds: int
) -> dict[str, float]:
    """Milliseconds of a comparison and an inspection, and the latter's ratio to the plain one's."""
    comparison = subject.comparison(**settings)
    inspect = subject.inspection(comparison)
    channels_last = {"memory_format": torch.channels_last}  # as the runtime has them
    latents = [z.contiguous(**channels_last) for z in subject.latents[0]]
    runs = {
        "plain": plain,
        "inspection": inspect,
        "comparison": partial(comparison.map_of, latents),
    }
    times = in_turns(runs, rounds, time.process_time)
    seconds = medians(times)
    return {
        "comparison": 1e3 * seconds["comparison"],
        "inspection": 1e3 * seconds["inspection"],
        "ratio": median_ratio(times, "inspection", "plain"),
    }


def table(found: dict[str, dict[str, float]]) -> list[str]:
    """Ways as a Markdown table."""
    rows = [
        [
            name,
            f"{row['comparison']:.1f} ms",
            f"{row['inspection']:.1f} ms",
            f"{row['ratio']:.2f}×",
        ]
        for name, row in found.items()
    ]
    return results.table(["", "comparison", "inspection", "ratio"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every way, and write the two files."""
    parser = common.parser("benchmarks.model.contrast", __doc__, "contrast", rounds=15)
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--images", type=int, default=12, help="that are compared with")
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    subject = Subject(options.size, options.images)
    plain = subject.inspection(subject.comparison())
    found = {}
    for name, settings in WAYS.items():
        row = found[name] = measured(subject, plain, settings, options.rounds)
        print(name, *(f"{value:.2f}" for value in row.values()), flush=True)
    title = f"What each comparison costs at {options.size}×{options.size}"
    results.write(options, title, [*METHOD.splitlines(), "", *table(found)], found)


if __name__ == "__main__":
    main()
