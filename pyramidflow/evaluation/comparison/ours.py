"""This package's detector as one of the compared methods."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyramidflow.data import Category, Pixels
from pyramidflow.detector import Detector
from pyramidflow.detector.findings import Map
from pyramidflow.evaluation.thresholds import unused_threshold
from pyramidflow.spec import size_text


class Ours:
    """PyramidFlow.

    Args:
        detector: to train.
        category: of the images.
        options: of :meth:`pyramidflow.Detector.fit`.
    """

    name = "PyramidFlow"

    def __init__(self, detector: Detector, category: Category, **options: Any) -> None:
        self.detector = detector
        self._category, self._options = category, options
        spec = detector.spec
        encoder = "" if spec.network.encoder == "lift" else f", {spec.network.encoder}"
        self.settings = (
            f"{size_text(spec.preprocessing.image_size)}{encoder}, {spec.recipe.epochs} epochs"
        )

    def fit(self, images: Sequence[Path]) -> None:
        """See :meth:`Method.fit`."""
        with unused_threshold():
            self.detector.fit(replace(self._category, train=tuple(images)), **self._options)

    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """See :meth:`Method.maps`."""
        for found in self.detector.session.working_maps(images):
            yield found.anomaly_map
