"""The line: sources → decode → detect → verdict → sinks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyramidflow.data import read_image
from pyramidflow.detector import Detector
from pyramidflow.detector.findings import Inspection
from pyramidflow.errors import InputError
from pyramidflow.inspection.sinks import ResultFolder
from pyramidflow.inspection.sources import Source


@dataclass
class Tally:
    """Images counted by what came of them."""

    ok: int = 0
    ng: int = 0
    unreadable: int = 0


def inspect_sources(
    detector: Detector,
    sources: Sequence[Source],
    results: ResultFolder,
    on_image: Callable[[Source, Inspection | InputError], object] = lambda source, found: None,
) -> Tally:
    """Inspect images one after the other and write down what was found.

    An image that cannot be read is recorded as such and the line goes on.

    Args:
        detector: trained and calibrated.
        sources: the images.
        results: where the results go.
        on_image: called after each image, with its inspection or the error.

    Returns:
        How many images were ok, ng and unreadable.

    Raises:
        InputError: the results cannot be written.
    """
    tally = Tally()
    for source in sources:
        try:
            pixels = read_image(source.path)
        except InputError as error:
            tally.unreadable += 1
            results.add_error(source, error)
            on_image(source, error)
            continue
        [inspection] = detector.inspect([pixels])
        results.add(source, pixels, inspection)
        if inspection.verdict == "ng":
            tally.ng += 1
        else:
            tally.ok += 1
        on_image(source, inspection)
    return tally
