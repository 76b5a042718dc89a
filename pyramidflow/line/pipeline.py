"""The line: sources → decode → detect → verdict → sinks."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyramidflow.data import Pixels, as_pixels, read_encoded, read_image
from pyramidflow.data.decoding import Decoding
from pyramidflow.detector import Inspection, Session, Verdict
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.sinks.folder import ResultFolder

STAGES: Final = ("reading", "resizing", "aligning", "inspecting", "writing")


@dataclass
class Tally:
    """Images counted by what came of them, and the time that it took.

    Attributes:
        ok: verdicts.
        ng: verdicts.
        review: verdicts.
        errors: records with an error: an image that could not be inspected, or whose pictures could
            not be written; the latter has a verdict, too.
        stopped: a stop was requested before the last frame.
        milliseconds: of each inspected image, by stage.
    """

    ok: int = 0
    ng: int = 0
    review: int = 0
    errors: int = 0
    stopped: bool = False
    milliseconds: dict[str, "array[float]"] = field(default_factory=dict)

    def count(self, verdict: Verdict | None) -> None:
        """Count an inspected image."""
        self.ok += verdict == "ok"
        self.ng += verdict == "ng"
        self.review += verdict == "review"

    def add_time(self, stage: str, milliseconds: float) -> None:
        """Note how long a stage took for an image."""
        self.milliseconds.setdefault(stage, array("d")).append(milliseconds)

    def percentiles(self) -> list[tuple[str, float, float]]:
        """Median and 99th percentile of each stage, in milliseconds, in the order of the stages."""
        return [
            (stage, *np.percentile(self.milliseconds[stage], (50, 99)))
            for stage in STAGES
            if stage in self.milliseconds
        ]


def inspect_frames(
    session: Session,
    frames: Sequence[Frame],
    results: ResultFolder,
    on_image: Callable[[Frame, Inspection | InputError], object] = lambda frame, found: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Tally:
    """Inspect images one after the other and write down what was found.

    Whatever happens to one image is recorded as its error, and the line goes on.

    Args:
        session: of a calibrated detector.
        frames: the images.
        results: where the results go; what an earlier run did there is counted.
        on_image: called after each image, with its inspection or the error; with both, one after
            the other, where the inspection has a picture that could not be written.
        stop_requested: asked before each image; the line ends when it says so.

    Returns:
        How many images were ok, ng, for review and had an error, and the times.

    Raises:
        InputError: the results cannot be written.
    """
    done = results.earlier.verdicts
    tally = Tally(ok=done["ok"], ng=done["ng"], review=done["review"])
    for frame in frames:
        if stop_requested():
            tally.stopped = True
            break
        try:
            pixels, inspection = _inspected(session, frame, tally)
        except InputError as error:
            tally.errors += 1
            results.add_error(frame, error)
            on_image(frame, error)
            continue
        tally.count(inspection.verdict)
        start = perf_counter()
        problem = results.add(frame, pixels, inspection)
        tally.add_time("writing", 1e3 * (perf_counter() - start))
        on_image(frame, inspection)
        if problem is not None:
            tally.errors += 1
            on_image(frame, problem)
    return tally


def _inspected(session: Session, frame: Frame, tally: Tally) -> tuple[npt.NDArray[Any], Inspection]:
    if frame.problem is not None:
        raise InputError(frame.problem)
    start = perf_counter()
    try:
        pixels = _pixels(frame, session.decoding)
        read = perf_counter()
        [inspection] = session.inspect_pixels([pixels])
    except InputError as error:
        if printable(frame.origin) in printable(error):
            raise
        raise InputError(f"{printable(frame.origin)}: {error}") from error
    except Exception as error:  # no memory, a file server that is away: the next image may do
        raise InputError(
            f"{printable(frame.origin)} could not be inspected ({_reason(error)}): see whether the "
            "file and the machine are in order, and inspect it again."
        ) from error
    tally.add_time("reading", 1e3 * (read - start))
    tally.add_time("resizing", inspection.times.resizing)
    if inspection.pose is not None:
        tally.add_time("aligning", inspection.times.aligning)
    tally.add_time("inspecting", inspection.times.inspecting)
    return pixels, inspection


def _pixels(frame: Frame, decoding: Decoding) -> Pixels:
    if isinstance(frame.payload, Path):
        return read_image(frame.payload, decoding)
    if isinstance(frame.payload, bytes):
        return read_encoded(frame.payload, frame.origin, decoding)
    return as_pixels(frame.payload, decoding)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip() or "no more is known").splitlines()[0]
    return f"{type(error).__name__}: {text}"
