"""Options that several commands have in common: a group of them is one object."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyramidflow.cli.options import (
    CacheSize,
    CategoryName,
    Device,
    EncoderWeights,
    MaxMegapixels,
    MemoryBudget,
    PixelThreshold,
    PrecisionName,
    PresetName,
    ReviewThreshold,
    Threads,
    ThresholdByHand,
    bytes_of,
    pixels_of,
)

if TYPE_CHECKING:
    from pyramidflow.data import Category


@dataclass(frozen=True)
class DataOptions:
    """Which category of a data set is trained on, and its published settings."""

    category: CategoryName = None
    preset: PresetName = None

    def opened(self, data: Path) -> "Category":
        """The data set; what is left out of it is said on standard error.

        Raises:
            InputError: it cannot be read, or has several categories and none is named.
        """
        from pyramidflow.cli.summary import say_left_out
        from pyramidflow.data import open_dataset

        dataset = open_dataset(data, self.category)
        say_left_out(dataset.left_out, dataset.remarks)
        return dataset

    def with_preset(self, dataset: "Category", given: dict[str, Any]) -> dict[str, Any]:
        """Settings of the preset, said on standard error; those that are given stand above it.

        Raises:
            InputError: there is no such preset.
        """
        if self.preset is None:
            return given
        from pyramidflow.training import preset_settings

        found = preset_settings(self.preset, dataset.name)
        listed = ", ".join(f"{name} {value}" for name, value in found.items())
        typer.echo(f"preset {self.preset} for {dataset.name}: {listed}", err=True)
        return found | given


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
