"""A part on its way through the stages: decode, inspect, draw."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from pyramidflow.data import Pixels, as_pixels, read_encoded, read_image
from pyramidflow.data.decoding import Decoding
from pyramidflow.detector import Inspection, Session
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline.drawing import Drawn, draw


@dataclass(eq=False)
class Part:
    """A frame with what became of it so far.

    Attributes:
        frame: what the source gave.
        pixels: ``[H, W, 3]`` from decoding until drawing.
        inspection: what was found.
        problem: why it could not be inspected.
        drawn: its pictures.
        detector: digest of the detector that inspected it.
        times: milliseconds by stage.
        queues: what waited before each stage when the part came out of it.
        is_dropped: it was let go before it was inspected.
        places: of its pictures, by kind.
        views: what a viewer drew of it.
        is_ready: set when the next stage can take it.
    """

    frame: Frame
    pixels: Pixels | None = None
    inspection: Inspection | None = None
    problem: InputError | None = None
    drawn: Drawn = field(default_factory=Drawn)
    detector: str = ""
    times: dict[str, float] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    is_dropped: bool = False
    places: dict[str, str] = field(default_factory=dict)
    views: Mapping[str, bytes] = field(default_factory=dict)
    is_ready: threading.Event = field(default_factory=threading.Event)
    _findings: Mapping[str, Any] | None = None

    @property
    def findings(self) -> Mapping[str, Any]:
        """What was found, as a JSON object, made by who asks first; empty without an inspection."""
        if self._findings is None and self.inspection is not None:
            self._findings = self.inspection.as_dict()
        return self._findings or {}

    @property
    def can_be_inspected(self) -> bool:
        """Whether there are pixels to look at."""
        return self.pixels is not None and not self.is_dropped

    def let_go(self, problem: InputError) -> int:
        """Drop the part and what it holds but its name; returns the bytes that become free."""
        freed = self.size
        self.pixels, self.problem, self.is_dropped = None, problem, True
        if self.frame.path is None:
            self.frame = replace(self.frame, payload=b"")
        return freed

    @property
    def size(self) -> int:
        """Bytes of the decoded picture."""
        return 0 if self.pixels is None else self.pixels.nbytes


def decode(part: Part, decoding: Decoding) -> None:
    """Decode a part's frame; what goes wrong becomes its problem."""
    frame = part.frame
    if frame.problem is not None:
        part.problem = InputError(frame.problem)
        return
    start = perf_counter()
    try:
        part.pixels = _pixels(frame, decoding)
    except Exception as error:
        part.problem = _named(frame, error)
        return
    part.times["reading"] = 1e3 * (perf_counter() - start)


def inspect(parts: Sequence[Part], session: Session) -> None:
    """Inspect decoded parts together; what goes wrong with one becomes its problem alone."""
    try:
        found = list(session.inspect_pixels([p.pixels for p in parts if p.pixels is not None]))
    except Exception as error:
        if len(parts) > 1:
            for part in parts:
                inspect([part], session)
            return
        parts[0].problem = _named(parts[0].frame, error)
        return
    for part, inspection in zip(parts, found, strict=True):
        part.inspection = inspection
        part.times["resizing"] = inspection.times.resizing
        if inspection.pose is not None:
            part.times["aligning"] = inspection.times.aligning
        part.times["inspecting"] = inspection.times.inspecting


def draw_pictures(part: Part, kinds: Iterable[str], scale: float) -> None:
    """Draw an inspected part's pictures, and let go of its pixels."""
    if part.inspection is None or part.pixels is None:
        return
    start = perf_counter()
    part.drawn = draw(kinds, part.frame, part.pixels, part.inspection, scale)
    part.times["drawing"] = 1e3 * (perf_counter() - start)


def _pixels(frame: Frame, decoding: Decoding) -> Pixels:
    if frame.path is not None:
        return read_image(frame.path, decoding)
    if isinstance(frame.payload, bytes):
        return read_encoded(frame.payload, frame.origin, decoding)
    return as_pixels(frame.payload, decoding)


def _named(frame: Frame, error: Exception) -> InputError:
    """What went wrong with a frame, as a sentence that names it."""
    name = printable(frame.origin)
    if isinstance(error, InputError):
        return error if name in printable(error) else InputError(f"{name}: {error}")
    # No memory, a file server that is away: the next image may do.
    return InputError(
        f"{name} could not be inspected ({_reason(error)}): see whether the file and the machine "
        "are in order, and inspect it again."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip() or "no more is known").splitlines()[0]
    return f"{type(error).__name__}: {text}"
