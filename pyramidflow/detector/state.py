"""What a detector holds: settings, network, template and threshold."""

import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow.data import picture_of
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.calibration import Calibration, with_thresholds_by_hand
from pyramidflow.detector.current import CurrentSession
from pyramidflow.detector.header import Header
from pyramidflow.detector.judging import judging
from pyramidflow.detector.scoring import Scoring
from pyramidflow.detector.trials import as_records
from pyramidflow.detector.verdict import overlay_scale
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.runtime import InspectionSettings, Precision, check_settings
from pyramidflow.spec import Preprocessing, RegionOfInterest, Spec


class DetectorState:
    """One artifact and the session that inspects with it, for any number of threads.

    A change replaces the artifact as a whole, under one lock: who has read it keeps what it was.
    """

    def _become(self, artifact: Artifact, settings: InspectionSettings | None = None) -> None:
        self._artifact = artifact
        self._changing = threading.Lock()
        self._current = CurrentSession(settings)

    def __getstate__(self) -> dict[str, Any]:
        return {"artifact": self._artifact, "settings": self._current.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._become(**state)

    @property
    def spec(self) -> Spec:
        """Every setting."""
        return self._artifact.spec

    @property
    def masks(self) -> tuple[Tensor, ...]:
        """Of the mask pictures that the verdict names, uint8 ``[H, W]`` each, 1 in the area."""
        return self._artifact.masks

    @property
    def model(self) -> PyramidFlow:
        """The network, in evaluation mode."""
        return self._artifact.network

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become network input."""
        return self.spec.preprocessing

    @property
    def template(self) -> tuple[Tensor, ...] | None:
        """Mean latents, levels ``[K, C, h_d, w_d]``, finest first; ``None`` before training.

        ``K`` is 1 where the settings ask for no more ``templates``.
        """
        return self._artifact.template or None

    @property
    def training(self) -> dict[str, Any]:
        """What the training did; empty before one."""
        record = self._artifact.training
        if record is None:
            return {}
        recipe, history = self.spec.recipe.as_dict(), [dict(r) for r in self._artifact.history]
        return {**record.as_dict(), "recipe": recipe, "history": history}

    @property
    def tuning(self) -> list[dict[str, Any]]:
        """How the settings were chosen, a record for each trial; empty where they were given."""
        return as_records(self._artifact.trials)

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Where the threshold comes from; ``None`` before there is one."""
        found = self._artifact.calibration
        return None if found is None else found.as_dict()

    @property
    def threshold(self) -> float | None:
        """Largest score that is not ``"ng"``; assign a number to set it by hand.

        Raises:
            InputError: on assignment, of a number that is negative or not finite, or below the
                review threshold, or where a lower threshold was made for other scores.
        """
        found = self._artifact.calibration
        return None if found is None else found.threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        with self._changing:
            found = None
            if value is not None:
                before = self._artifact.calibration or Calibration.by_hand(value)
                found = before.with_thresholds(value, scoring=self._artifact.scoring)
            self._artifact = replace(self._artifact, calibration=found)

    @property
    def review_threshold(self) -> float | None:
        """Largest score that is ``"ok"``; ``None`` where no score is for review.

        Assign a number to set it by hand, or ``None`` to send no score to review.

        Raises:
            InputError: on assignment, of a number that is negative or not finite, or above the
                threshold, or where there is no threshold yet.
        """
        found = self._artifact.calibration
        return None if found is None else found.review_threshold

    @review_threshold.setter
    def review_threshold(self, value: float | None) -> None:
        with self._changing:
            found = self._calibrated().with_review(value)
            self._artifact = replace(self._artifact, calibration=found)

    @property
    def pixel_threshold(self) -> float | None:
        """The map's value above which pixels belong to a region, where it was set by hand.

        ``None`` takes the lowest threshold of the verdict. It changes no verdict.

        Raises:
            InputError: on assignment, of a number that is negative or not finite, or where there is
                no threshold yet.
        """
        found = self._artifact.calibration
        return None if found is None else found.pixel_threshold

    @pixel_threshold.setter
    def pixel_threshold(self, value: float | None) -> None:
        with self._changing:
            found = replace(self._calibrated(), pixel_threshold=value)
            self._artifact = replace(self._artifact, calibration=found)

    def set_thresholds(
        self,
        threshold: float | None = None,
        review_threshold: float | None = None,
        pixel_threshold: float | None = None,
    ) -> None:
        """Set several thresholds by hand at once; ``None`` keeps one.

        Raises:
            InputError: one is negative or not finite, the review threshold is above the threshold,
                one that would be kept was made for other scores, or there is no threshold yet and
                none is given.
        """
        with self._changing:
            found = self._artifact.calibration
            if found is None and threshold is not None:
                found = Calibration.by_hand(threshold)
            given = (threshold, review_threshold, pixel_threshold, self._artifact.scoring)
            found = (found or self._calibrated()).with_thresholds(*given)
            self._artifact = replace(self._artifact, calibration=found)

    def _calibrated(self) -> Calibration:
        found = self._artifact.calibration
        if found is None:
            raise InputError(
                "this detector has no threshold yet: calibrate it on good images, or set its "
                "threshold first."
            )
        return found

    @property
    def region_of_interest(self) -> RegionOfInterest | None:
        """Where defects count: ``(left, top, right, bottom)`` as fractions of width and height.

        Or areas as texts, see :class:`pyramidflow.spec.VerdictRule`. The anomaly map is zero
        outside; ``None`` is the whole image. Assigning is :meth:`set_verdict` with one setting.

        Raises:
            InputError: on assignment, of a region that is none or holds no pixel.
        """
        return self.spec.rule.region_of_interest

    @region_of_interest.setter
    def region_of_interest(self, region: RegionOfInterest | None) -> None:
        self._judge_by({"region_of_interest": region})

    def set_verdict(self, **settings: Any) -> None:
        """Change settings of the verdict, without a training.

        Where the scores change, the thresholds count no more: inspections are refused until the
        detector is calibrated again, or thresholds are set by hand (``threshold = None`` gives
        scores without a verdict).

        Args:
            settings: any of ``region_of_interest``, ``exclude``, ``smoothing``, ``minimum_area``
                and ``scale``, see :class:`pyramidflow.spec.VerdictRule`.

        Raises:
            InputError: a setting is no such, or is refused, or a mask picture cannot be read.

        Warns:
            CalibrationWarning: the scores change, and the thresholds were made for those before.
        """
        self._judge_by(settings)

    def _judge_by(self, settings: Mapping[str, Any]) -> None:
        with self._changing:
            found = judging(self._artifact, settings)
            self._artifact = found
        stale = None if found.calibration is None else found.calibration.stale(found.scoring)
        if stale is not None:
            warnings.warn(stale, CalibrationWarning, stacklevel=3)

    def _change(self, **parts: Any) -> None:
        with self._changing:
            self._artifact = replace(self._artifact, **parts)

    def check(
        self,
        thresholds: Mapping[str, float | None] | None = None,
        *,
        threads: int | None = None,
        memory_budget: int | None = None,
        precision: Precision | None = None,
        max_pixels: int | None = None,
    ) -> Calibration | None:
        """Refuse what cannot be inspected with, as far as it is known before anything is prepared.

        Args:
            thresholds: by hand, as for :meth:`pyramidflow.detector.Session.with_thresholds`.
            threads: as for :meth:`pyramidflow.Detector.prepare`.
            memory_budget: likewise; whether it is enough is only known then.
            precision: likewise.
            max_pixels: likewise.

        Returns:
            What verdicts would be given by; ``None`` where there is no threshold yet.

        Raises:
            InputError: the detector is not trained, a setting cannot be honoured, or a threshold by
                hand is refused.
        """
        if self.template is None:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        check_settings(
            self.device, InspectionSettings(threads, memory_budget, precision, max_pixels)
        )
        found = self._artifact.calibration
        return with_thresholds_by_hand(found, self.scoring, **(thresholds or {}))

    @property
    def scoring(self) -> Scoring:
        """How scores are made by the settings of the verdict."""
        return self._artifact.scoring

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.model.parameters()).device

    @property
    def map_scale(self) -> float:
        """Anomaly value at the top of the overlays' colour scale: twice the threshold.

        Raises:
            InputError: the detector is not calibrated.
        """
        return overlay_scale(self.threshold)

    def template_picture(self) -> npt.NDArray[np.uint8]:
        """Picture of the normal part, ``[H, W, 3]`` at the size that the detector works at.

        Several templates lie side by side.

        Raises:
            InputError: the detector is not trained, or its encoder has no inverse.
        """
        if self.template is None:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        pictures = self.model.image_template(self.template, self.preprocessing.size)
        return np.concatenate([picture_of(x, self.preprocessing) for x in pictures], axis=1)

    def described(self) -> Header:
        """What a file stores beside the tensors: settings, calibration, training record."""
        return self._artifact.header


def on_device(artifact: Artifact, device: torch.device) -> Artifact:
    """The artifact with its network and all that is compared with on a device."""
    spread, codebook, reference = artifact.inverse_spread, artifact.codebook, artifact.reference
    return replace(
        artifact,
        network=artifact.network.to(device),
        template=tuple(z.to(device) for z in artifact.template),
        inverse_spread=spread and tuple(w.to(device) for w in spread),
        codebook=codebook and codebook.to(device, torch.float32),
        reference=reference and reference.to(device),
        masks=tuple(mask.to(device) for mask in artifact.masks),
    )
