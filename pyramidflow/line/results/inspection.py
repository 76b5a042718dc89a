"""The inspection of a list of images into a folder: what ``inspect`` does."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Final

import numpy as np

from pyramidflow.detector import Inspection, Session, Verdict
from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.pipeline.part import Part
from pyramidflow.line.pipeline.pipeline import Flow, Pipeline
from pyramidflow.line.results.folder import ResultFolder

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


def flow_of(session: Session) -> Flow:
    """How parts go through: one after the other in a memory budget."""
    is_budgeted = getattr(session.runtime.plan, "memory_budget", None) is not None
    return Flow(workers=0) if is_budgeted else Flow()


def inspect_frames(
    session: Session,
    frames: Sequence[Frame],
    results: ResultFolder,
    on_image: Callable[[Frame, Inspection | InputError], object] = lambda frame, found: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Tally:
    """Inspect images and write down what was found, in their order.

    While one image is inspected, those behind it are decoded and the pictures of those before it
    are drawn; in a memory budget, one image is done after the other. Whatever happens to one image
    is recorded as its error, and the line goes on.

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
    inspector = Inspector(session)
    pipeline = Pipeline(lambda: inspector, lambda part: results.kinds, flow_of(session))
    for part in chain.from_iterable(pipeline.run(frames, stop_requested)):
        if part.inspection is None:
            problem = part.problem or InputError(
                f"{part.frame.origin} was not inspected: inspect it again."
            )
            tally.errors += 1
            results.add_error(part.frame, problem)
            on_image(part.frame, problem)
        else:
            _write(part, part.inspection, results, tally, on_image)
    tally.stopped = pipeline.is_stopped
    return tally


def _write(
    part: Part,
    inspection: Inspection,
    results: ResultFolder,
    tally: Tally,
    on_image: Callable[[Frame, Inspection | InputError], object],
) -> None:
    tally.count(inspection.verdict)
    start = perf_counter()
    problem = results.add(part.frame, inspection, part.drawn)
    part.times["writing"] = part.times.get("drawing", 0.0) + 1e3 * (perf_counter() - start)
    for stage in STAGES:
        if stage in part.times:
            tally.add_time(stage, part.times[stage])
    on_image(part.frame, inspection)
    if problem is not None:
        tally.errors += 1
        on_image(part.frame, problem)
