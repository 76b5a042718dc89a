"""The record of a training's epochs, as files hold it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pyramidflow.errors import InputError, shown
from pyramidflow.validated import Validated, setting

LONGEST_SECONDS = 1e12
"""Of a training, some 30,000 years: sums of such times stay finite."""


@dataclass(frozen=True)
class EpochRecord(Validated):
    """What is known of an epoch.

    Attributes:
        epoch: its number, from 1 on.
        loss: mean over its steps.
        validation_loss: on the held-out images; ``None`` where there are none.
        seconds: that it took.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "records of the history"

    epoch: int = setting(least=1)
    loss: float = setting()
    validation_loss: float | None = setting(None)
    seconds: float = setting(0.0, least=0, most=LONGEST_SECONDS)


def read_history(stored: object) -> tuple[Mapping[str, Any], ...]:
    """Check the history that a file holds.

    Args:
        stored: a list with an object for each epoch.

    Raises:
        InputError: it is no such list, or a record is wrong.
    """
    if not isinstance(stored, list):
        raise InputError(f"history is {shown(stored)}: a list of objects is expected.")
    for record in stored:
        if not isinstance(record, dict) or not {"epoch", "loss"} <= set(record):
            raise InputError(f"history holds {shown(record)}: an epoch with its loss is expected.")
    return tuple(EpochRecord.from_dict(record).as_dict() for record in stored)
