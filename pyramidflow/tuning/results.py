"""What was measured so far, kept beside the detector file so that an interrupted tuning goes on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pyramidflow.detector.trials import Examined
from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import printable
from pyramidflow.tuning.criterion import Answers
from pyramidflow.validated import setting


@dataclass(frozen=True)
class Result(Examined):
    """What came of settings on the held-out images.

    They differ from those that the tuning began with.

    Attributes:
        spread: of the good images' scores, see :class:`pyramidflow.tuning.criterion.Parts`.
        resampled: the criterion on draws of the held-out images.
        training_seconds: that the training took; 0 where a trained network was there.
        measuring_seconds: that the rest took.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "results of a tuning"

    spread: float = setting(least=0)
    resampled: tuple[float, ...] = setting(least=0, most=1)
    training_seconds: float = setting(least=0)
    measuring_seconds: float = setting(least=0)

    @classmethod
    def of(
        cls, settings: Sequence[str], answers: Answers, training: float, measuring: float
    ) -> "Result":
        """Of a detector's answers."""
        parts = answers.parts
        numbers = {
            name: float(getattr(parts, name)[0])
            for name in ("criterion", "aupro", "pixel_ap", "image_auroc", "spread")
        }
        return cls(
            settings=tuple(settings),
            resampled=tuple(answers.resampled.criterion.tolist()),
            training_seconds=training,
            measuring_seconds=measuring,
            **numbers,
        )


class Results:
    """Results by their settings, each written to a file as soon as it is there.

    Args:
        file: ``None`` keeps them in memory alone.
        identity: what results depend on; those of another identity are not taken.
    """

    def __init__(self, file: Path | None, identity: Mapping[str, Any]) -> None:
        self._file = file
        self._identity = _digest(identity)
        self._known: dict[tuple[str, ...], Result] = {}

    def resume(self) -> None:
        """Read what is there; nothing is no error: a tuning may have been stopped before.

        Raises:
            InputError: the file is damaged, or of another tuning.
        """
        if self._file is None or not self._file.exists():
            return
        shown = printable(self._file)
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            identity = stored["identity"]
            found = [Result.from_dict(record) for record in stored["results"]]
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"{shown} holds no results of a tuning ({printable(error)}): start without "
                "--resume."
            ) from error
        if identity != self._identity:
            raise InputError(
                f"{shown} belongs to a tuning of other images, settings or encoder weights: use "
                "the same ones, or start without --resume."
            )
        self._known = {result.settings: result for result in found}

    def get(self, settings: Sequence[str]) -> Result | None:
        """The result of settings, if it is known."""
        return self._known.get(tuple(settings))

    def add(self, result: Result) -> None:
        """Keep a result, and write the file.

        Raises:
            InputError: the file cannot be written.
        """
        self._known[result.settings] = result
        if self._file is None:
            return
        records = [known.as_dict() for known in self._known.values()]
        text = json.dumps({"identity": self._identity, "results": records})
        write_atomically(self._file, lambda out: out.write(text.encode()))


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
