"""What other methods find on the parts that ``benchmarks.quality`` measures the detector on.

``python -m benchmarks.quality.peers DATA --images 60 --size 512 --methods padim,patchcore`` fits
methods of ``pyramidflow compare`` to the same random training images, and measures them on the same
test images. They have features of EfficientNet-Lite0; no test image is looked at before.
"""

from collections.abc import Sequence

import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.quality.measure import COLUMNS, add_images, sampled, test_images
from pyramidflow.data import Decoding, Reading, open_dataset
from pyramidflow.evaluation.comparison import METHODS, MethodResult, Peers, compare, method_names
from pyramidflow.spec import image_size

METHOD = """\
In per cent. Maps are measured at the size that the methods work at. Training: seconds, reading
included; inspection: milliseconds of an image, from decoded pixels to the map.
"""


def table(found: Sequence[MethodResult]) -> list[str]:
    """Results as a Markdown table."""
    rows = []
    for one in found:
        known = {} if one.metrics is None else one.metrics.as_dict()
        cells = [f"{100 * known[key]:.1f}" if key in known else "–" for key in COLUMNS.values()]
        rows.append([one.name, one.settings, *cells, *_times(one)])
    return results.table(["", "settings", *COLUMNS, "training", "inspection"], rows, texts=2)


def _times(found: MethodResult) -> tuple[str, str]:
    if found.training_seconds is None or found.milliseconds is None:
        return "–", "–"
    return f"{found.training_seconds:.0f} s", f"{found.milliseconds:.0f} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, measure, and write the two files."""
    parser = common.parser("benchmarks.quality.peers", __doc__, "quality_peers")
    add_images(parser)
    parser.add_argument("--size", default="256", help="of the images, as --image-size")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100, help="of AE-SSIM")
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    data = sampled(
        open_dataset(options.data, options.category), options.images, options.good, options.defects
    )
    size = image_size(options.size)
    if size == "auto":
        parser.error("--size auto: name a size, such as 512 or 640x256")
    reading, device = Reading(size, Decoding()), torch.device(options.device)
    peers = Peers(
        reading, "efficientnet-lite0", (), None, device, options.seed, options.epochs, print
    )
    methods = peers.made(method_names(options.methods))
    found = compare(methods, data, lambda: size, Decoding(), 1, print).results
    facts = {"data": data.name, "training images": len(data.train)}
    facts |= {"test images": test_images(data), "size": options.size, "seed": options.seed}
    cases = {
        one.name: {
            **({} if one.metrics is None else one.metrics.as_dict()),
            "settings": one.settings,
            "training_seconds": one.training_seconds,
            "milliseconds": one.milliseconds,
        }
        for one in found
    }
    title = f"What other methods find on {data.name}"
    results.write(options, title, [*METHOD.splitlines(), "", *table(found)], cases, facts)


if __name__ == "__main__":
    main()
