"""What the header of a detector file says: settings, calibration, training record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyramidflow.alignment import ReferenceFacts
from pyramidflow.detector.calibration import Calibration
from pyramidflow.detector.older import from_version_1
from pyramidflow.detector.record import TrainingRecord
from pyramidflow.detector.scoring import Scoring
from pyramidflow.detector.trials import Trial, as_records, read_trials
from pyramidflow.errors import InputError, shown
from pyramidflow.spec import Spec
from pyramidflow.training.history import read_history


@dataclass(frozen=True)
class Header:
    """What the header of a detector file says, checked.

    Attributes:
        spec: every setting.
        calibration: the threshold, or ``None``.
        training: the training record, or ``None``.
        history: a record for each epoch.
        library_version: that wrote the file.
        alignment: about the reference that poses are measured against, or ``None``.
        trials: how the settings were chosen.
        scoring: how scores are made by the settings and the mask pictures beside them; ``None``
            where the tensors were not looked at.
    """

    spec: Spec
    calibration: Calibration | None
    training: TrainingRecord | None
    history: tuple[Mapping[str, Any], ...]
    library_version: str
    alignment: ReferenceFacts | None = None
    trials: tuple[Trial, ...] = ()
    scoring: Scoring | None = None

    @property
    def stale(self) -> str | None:
        """Why the thresholds do not count; ``None`` where they do, or there are none."""
        if self.calibration is None or self.scoring is None:
            return None
        return self.calibration.stale(self.scoring)

    def as_dict(self) -> dict[str, Any]:
        """The header as a JSON object."""
        return {
            "library_version": self.library_version,
            "spec": self.spec.as_dict(),
            "threshold": None if self.calibration is None else self.calibration.threshold,
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "training": None if self.training is None else self.training.as_dict(),
            "history": [dict(record) for record in self.history],
            "alignment": None if self.alignment is None else self.alignment.as_dict(),
            "tuning": as_records(self.trials),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Header":
        """Check a header.

        Raises:
            InputError: a field is missing, or of another type or range.
        """
        if document.get("format_version") == 1:
            document = from_version_1(document)
        calibration = document.get("calibration")
        if calibration is not None:
            calibration = Calibration.from_dict(calibration)
        if document.get("threshold") != (calibration and calibration.threshold):
            raise InputError(
                f"threshold is {shown(document.get('threshold'))}, but the calibration has "
                f"{calibration and calibration.threshold}: one value is expected."
            )
        training = document.get("training")
        version = document.get("library_version")
        if not isinstance(version, str):
            raise InputError(f"library_version is {shown(version)}: a text is expected.")
        spec, facts = Spec.from_dict(document.get("spec")), document.get("alignment")
        if (facts is None) != (spec.alignment.align == "none"):
            raise InputError(
                f"align is {spec.alignment.align}, but of the reference {shown(facts)} is told: "
                "an object is expected where parts are aligned, and only there."
            )
        return cls(
            spec,
            calibration,
            None if training is None else TrainingRecord.from_dict(training),
            read_history(document.get("history")),
            version,
            None if facts is None else ReferenceFacts.from_dict(facts),
            read_trials(document.get("tuning")),
        )
