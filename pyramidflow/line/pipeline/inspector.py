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


@dataclass(frozen=True)
class OpenedDetector:
    """A detector file that was read and checked, before the work that an inspection needs.

    Attributes:
        detector: as read; nobody else may change it.
        digest: SHA-256 of the file.
        thresholds: in place of the calibrated ones.
        settings: as for :meth:`pyramidflow.Detector.prepare`.
    """

    detector: Detector
    digest: str
    thresholds: Mapping[str, float | None]
    settings: Mapping[str, Any]

    def prepared(self) -> Inspector:
        """Make ready to inspect: this is what takes time.

        Raises:
            InputError: a setting cannot be honoured.
            Interrupted: it is not wanted any more, see :func:`pyramidflow.interrupt.unless`.
        """
        session = self.detector.prepare(**self.settings).with_thresholds(**self.thresholds)
        return Inspector(session, self.digest)


def open_detector(
    model: Path, thresholds: Mapping[str, float | None], device: str, **settings: Any
) -> OpenedDetector:
    """Read a detector file, and check that one could inspect with it.

    Args:
        model: the file.
        thresholds: in place of the calibrated ones, as for
            :meth:`pyramidflow.detector.Session.with_thresholds`.
        device: as for :meth:`pyramidflow.Detector.load`.
        settings: as for :meth:`pyramidflow.Detector.prepare`.

    Raises:
        InputError: the file cannot be used, has no threshold or one for other scores, or was
            overwritten meanwhile; a setting is refused.
    """
    digest = file_digest(model)
    detector = Detector.load(model, device=device)
    if file_digest(model) != digest:
        raise InputError(
            f"{printable(model)} was overwritten while it was read, so the records could name "
            "another model than the one that inspects: start again."
        )
    calibration = detector.check(thresholds, **settings)
    if calibration is None:
        raise InputError(
            f"{printable(model)} has no threshold yet: run pyramidflow calibrate, or give a "
            "threshold (--threshold)."
        )
    stale = calibration.stale(detector.scoring)
    if stale is not None:
        raise InputError(f"{printable(model)}: {stale}")
    return OpenedDetector(detector, digest, thresholds, settings)


def open_inspector(
    model: Path, thresholds: Mapping[str, float | None], device: str, **settings: Any
) -> Inspector:
    """Read a detector file and make ready to inspect with it.

    Args:
        model: as for :func:`open_detector`.
        thresholds: likewise.
        device: likewise.
        settings: likewise.

    Raises:
        InputError: as there; or a setting cannot be honoured.
    """
    return open_detector(model, thresholds, device, **settings).prepared()
