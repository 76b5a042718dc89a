"""The record of how settings were chosen on good images, as files hold it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pyramidflow.errors import InputError, shown
from pyramidflow.validated import Validated, setting


@dataclass(frozen=True)
class Examined(Validated):
    """Settings, and how they do on drawn defects; see :mod:`pyramidflow.tuning.criterion`.

    Attributes:
        settings: what differs from other ones, as ``name=value``.
        criterion: what settings are chosen by; larger is better.
        aupro: per-region overlap on drawn defects, to a false-positive rate of 0.3.
        pixel_ap: average precision over the pixels of drawn defects.
        image_auroc: of images with a drawn defect against good ones.
    """

    settings: tuple[str, ...] = setting()
    criterion: float = setting(least=0, most=1)
    aupro: float = setting(least=0, most=1)
    pixel_ap: float = setting(least=0, most=1)
    image_auroc: float = setting(least=0, most=1)


@dataclass(frozen=True)
class Trial(Examined):
    """Settings that were tried, and what came of them.

    They differ from the settings that were best by then; those that the choice began with are
    empty.

    Attributes:
        good_spread: standard deviation of the good images' scores, as a share of their mean.
        gain: of the criterion over the best settings by then; ``None`` for the first trial.
        needed: gain from which on the settings are taken; likewise.
        chosen: whether they were.
        seconds: that training and measuring took.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "trials of the tuning"

    good_spread: float = setting(least=0)
    gain: float | None = setting(None, least=-1, most=1)
    needed: float | None = setting(None, least=0)
    chosen: bool = setting(False)
    seconds: float = setting(0.0, least=0)


def read_trials(stored: object) -> tuple[Trial, ...]:
    """Check the trials that a file holds; a file of an older version holds none.

    Args:
        stored: a list with an object for each trial, or ``None``.

    Raises:
        InputError: it is no such list, or a record is wrong.
    """
    if stored is None:
        return ()
    if not isinstance(stored, list):
        raise InputError(f"tuning is {shown(stored)}: a list of objects is expected.")
    return tuple(Trial.from_dict(record) for record in stored)


def as_records(trials: tuple[Trial, ...]) -> list[dict[str, Any]]:
    """Trials as JSON objects."""
    return [trial.as_dict() for trial in trials]
