"""The file that says of one experiment what its result is and what it follows from."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pyramidflow import __version__
from pyramidflow.data import Category
from pyramidflow.detector import Detector
from pyramidflow.errors import shown
from pyramidflow.evaluation.evaluate import Evaluation
from pyramidflow.io.files import write_atomically
from pyramidflow.model.encoders import with_encoder_renamed
from pyramidflow.spec import Spec

_SHOWN = 3
"""Changed settings that a sentence names."""


@dataclass(frozen=True)
class Record:
    """An experiment's state on disk.

    Attributes:
        conditions: what the result follows from; see :func:`conditions_of`.
        metrics: by name, fractions of 1, ``None`` where one is undefined; empty until the
            experiment is finished.
        facts: of the training, the test and the versions.
        error: why the experiment failed, in a sentence.
    """

    conditions: Mapping[str, Any]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether there is a result."""
        return bool(self.metrics)


def conditions_of(spec: Spec, files: str, encoder_weights: str | None) -> dict[str, Any]:
    """What a result follows from, as a JSON object; another one makes the result stale.

    Args:
        spec: every setting; how much memory a training takes changes nothing.
        files: digest of the category's files.
        encoder_weights: digest of their file.
    """
    found = _settings(spec) | {
        "files_digest": files,
        "encoder_weights_digest": encoder_weights,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _settings(spec: Spec) -> dict[str, Any]:
    settings = {name: value for group in spec.as_dict().values() for name, value in group.items()}
    del settings["memory"]
    return settings


def files_digest(data: Category) -> str:
    """Digest of the names and sizes of a category's files.

    What they hold is not read: a training that goes on from a checkpoint compares that itself.
    """
    files = [*data.train]
    for sample in data.test:
        files += [sample.path] if sample.mask_path is None else [sample.path, sample.mask_path]
    digest = hashlib.sha256()
    for file in files:
        size = -1  # of a link that leads nowhere; reading it says so
        with suppress(OSError):
            size = file.stat().st_size
        digest.update(os.fsencode(os.path.relpath(file, data.root)) + b"\0%d\n" % size)
    return digest.hexdigest()[:16]


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what has changed between two conditions; empty where nothing has.

    A setting that an older version did not know had its default.
    """
    earlier = json.loads(json.dumps(_settings(Spec()))) | with_encoder_renamed(earlier)
    changed = [
        f"{name} was {shown(earlier.get(name))} and is {shown(now.get(name))}"
        for name in sorted({*earlier, *now})
        if earlier.get(name) != now.get(name)
    ]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return ", ".join(changed[:_SHOWN]) + more


def result_of(conditions: Mapping[str, Any], detector: Detector, evaluation: Evaluation) -> Record:
    """The record of an experiment that is finished."""
    training = detector.training
    facts = {
        "layout": training["layout"],
        "epochs": training["epochs"],
        "image_size": list(evaluation.image_size),
        "training_images": training["images"],
        "training_seconds": training["seconds"],
        "test_images": len(evaluation.measured),
        "test_seconds": evaluation.seconds,
        "failed_images": [outcome.error for outcome in evaluation.failures],
        "device": str(detector.device),
        "pyramidflow": __version__,
        "torch": torch.__version__,
        "finished": training["finished"],
    }
    metrics = {name: _defined(value) for name, value in evaluation.metrics.as_dict().items()}
    return Record(conditions, metrics, facts)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def write_record(record: Record, file: Path) -> None:
    """Write a record as JSON, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(asdict(record), indent=1, allow_nan=False) + "\n"
    write_atomically(file, lambda opened: opened.write(text.encode()))


def read_record(file: Path) -> Record | None:
    """Read a record; ``None`` where none can be read: the experiment then runs again."""
    try:
        stored = json.loads(file.read_bytes())
        record = Record(**stored)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    objects = (record.conditions, record.metrics, record.facts)
    is_sound = all(isinstance(each, dict) for each in objects) and all(_numbers(record.metrics))
    return record if is_sound and isinstance(record.error, str | None) else None


def _numbers(metrics: Mapping[str, Any]) -> Iterator[bool]:
    for value in metrics.values():
        yield value is None or (isinstance(value, float | int) and math.isfinite(value))
