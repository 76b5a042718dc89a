"""What is told of a tuning while it runs."""

from collections.abc import Sequence
from typing import Protocol

from pyramidflow.detector.trials import Trial


class Progress(Protocol):
    """Told how a tuning goes."""

    def begin(self, settings: Sequence[str], training: bool) -> None:
        """Settings are tried, after a training or without one."""

    def note(self, sentence: str) -> None:
        """Something that people want to know."""

    def tried(self, trial: Trial) -> None:
        """What came of them."""


class SilentProgress:
    """Tells nothing."""

    def begin(self, settings: Sequence[str], training: bool) -> None:
        """Say nothing."""

    def note(self, sentence: str) -> None:
        """Say nothing."""

    def tried(self, trial: Trial) -> None:
        """Say nothing."""
