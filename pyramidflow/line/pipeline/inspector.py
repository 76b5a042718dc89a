"""What inspects in a line: the session of a detector file, with the file's digest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyramidflow.detector import Detector, Session
from pyramidflow.errors import InputError
from pyramidflow.io.files import file_digest
from pyramidflow.io.names import printable


@dataclass(frozen=True)
class Inspector:
    """What inspects, and how its records name it.

    Attributes:
        session: of a calibrated detector.
        digest: SHA-256 of its file.
    """

    session: Session
    digest: str = ""

    @property
    def thresholds(self) -> dict[str, float | None]:
        """What verdicts are given by."""
        names = ("threshold", "review_threshold", "pixel_threshold")
        return {name: getattr(self.session, name) for name in names}

    def with_thresholds(self, **thresholds: float) -> "Inspector":
        """This inspector with other thresholds.

        Args:
            thresholds: as for :meth:`pyramidflow.detector.Session.with_thresholds`.

        Raises:
            InputError: as there.
        """
        return replace(self, session=self.session.with_thresholds(**thresholds))

    def warm_up(self) -> None:
        """Inspect a black picture, so that the first part does not wait for memory."""
        self.session.inspect(np.zeros((*self.session.size, 3), np.uint8))


def open_inspector(
    model: Path, thresholds: Mapping[str, float | None], device: str, **settings: Any
) -> Inspector:
    """Read a detector file and make ready to inspect with it.

    Args:
        model: the file.
        thresholds: in place of the calibrated ones, as for
            :meth:`pyramidflow.detector.Session.with_thresholds`.
        device: as for :meth:`pyramidflow.Detector.load`.
        settings: as for :meth:`pyramidflow.Detector.prepare`.

    Raises:
        InputError: the file cannot be used, has no threshold or one for other scores, or was
            overwritten meanwhile; a setting cannot be honoured.
    """
    digest = file_digest(model)
    detector = Detector.load(model, device=device)
    session = detector.prepare(**settings).with_thresholds(**thresholds)
    if session.threshold is None:
        raise InputError(
            f"{printable(model)} has no threshold yet: run pyramidflow calibrate, or give a "
            "threshold (--threshold)."
        )
    if session.stale is not None:
        raise InputError(f"{printable(model)}: {session.stale}")
    if file_digest(model) != digest:
        raise InputError(
            f"{printable(model)} was overwritten while it was read, so the records could name "
            "another model than the one that inspects: start again."
        )
    return Inspector(session, digest)
