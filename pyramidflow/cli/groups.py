"""Options that several commands have in common: a group of them is one object."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from pyramidflow.cli.options import (
    CacheSize,
    Device,
    EncoderWeights,
    MaxMegapixels,
    MemoryBudget,
    PixelThreshold,
    PrecisionName,
    ReviewThreshold,
    Threads,
    ThresholdByHand,
    bytes_of,
    pixels_of,
)


@dataclass(frozen=True)
class InspectionOptions:
    """Where and how images are inspected."""

    device: Device = "auto"
    threads: Threads = None
    memory_budget: MemoryBudget = None
    precision: PrecisionName = None
    max_megapixels: MaxMegapixels = None

    @property
    def settings(self) -> dict[str, Any]:
        """What :meth:`pyramidflow.Detector.prepare` takes.

        Raises:
            InputError: the largest picture is less than a pixel, or more than any picture has.
        """
        return {
            "threads": self.threads,
            "memory_budget": bytes_of(self.memory_budget),
            "precision": self.precision,
            "max_pixels": pixels_of(self.max_megapixels),
        }


@dataclass(frozen=True)
class TrainingOptions:
    """Where a training runs, and what it reads."""

    encoder_weights: EncoderWeights = None
    cache_size: CacheSize = 2048
    max_megapixels: MaxMegapixels = None
    device: Device = "auto"

    @property
    def cache_bytes(self) -> int:
        """Memory for decoded images."""
        return self.cache_size * 1_000_000

    @property
    def max_pixels(self) -> int | None:
        """Of the largest picture.

        Raises:
            InputError: it is less than a pixel, or more than any picture has.
        """
        return pixels_of(self.max_megapixels)


@dataclass(frozen=True)
class ThresholdOptions:
    """Thresholds by hand."""

    threshold: ThresholdByHand = None
    review_threshold: ReviewThreshold = None
    pixel_threshold: PixelThreshold = None

    @property
    def by_name(self) -> dict[str, float | None]:
        """All three; ``None`` for those that are not given."""
        return asdict(self)

    @property
    def are_given(self) -> bool:
        """Whether one is."""
        return set(self.by_name.values()) != {None}


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every field of the groups among its parameters.

    The command itself receives the groups.

    Args:
        command: to give them to.
    """
    own, options, groups = [], [], {}
    for parameter in inspect.signature(command).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group
        options += [
            inspect.Parameter(
                f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
            )
            for f in fields(group)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{f.name: given.pop(f.name) for f in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    parameters = [*own, *options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return run
