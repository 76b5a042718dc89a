"""Which trainings repeat the paper's tables: each takes a category and a variant of the method."""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyramidflow.data import list_categories
from pyramidflow.errors import InputError
from pyramidflow.io.files import CHECKPOINT_SUFFIX
from pyramidflow.io.names import OutputNames, printable
from pyramidflow.spec import Ablation, Spec
from pyramidflow.training import preset_settings

DEFAULTS = {"validation_share": 0.0}
"""Settings that differ from the package's: the paper trains on every good image."""


@dataclass(frozen=True)
class Variant:
    """A row of tables S1 and S2.

    Attributes:
        name: ``"baseline"``, or the ablation's numeral.
        title: as the tables call it.
        without: parts of the method that are left out.
    """

    name: str
    title: str
    without: tuple[Ablation, ...] = ()


BASELINE = Variant("baseline", "Ours (baseline)")

VARIANTS = (
    BASELINE,
    Variant("I", "I. w/o Volume Normalization", ("volume-norm",)),
    Variant("II", "II. w/o Latent Template", ("template",)),
    Variant("III", "III. w/o Pyramid Difference", ("pyramid-difference",)),
    Variant("IV", "IV. w/o Fourier Loss", ("fourier-loss",)),
)
"""In the order of the tables' rows."""


@dataclass(frozen=True)
class Experiment:
    """A category to train and measure in one variant.

    Attributes:
        category: its name.
        variant: of the method.
        spec: every setting.
        file: the detector.
    """

    category: str
    variant: Variant
    spec: Spec
    file: Path

    @property
    def name(self) -> str:
        """As people are told of it."""
        return printable(f"{self.category}, {self.variant.name}")

    @property
    def record(self) -> Path:
        """The file with the result."""
        return self.file.with_suffix(".json")

    @property
    def checkpoint(self) -> Path:
        """The file that an unfinished training goes on from."""
        return self.file.with_name(self.file.stem + CHECKPOINT_SUFFIX)


def variants_of(ablations: Sequence[str]) -> tuple[Variant, ...]:
    """The baseline and the ablations that are named, in the tables' order."""
    return tuple(each for each in VARIANTS if each is BASELINE or each.name in ablations)


def plan_experiments(
    root: Path,
    output: Path,
    variants: Sequence[Variant],
    preset: str,
    settings: Mapping[str, Any],
) -> list[Experiment]:
    """The experiments of every category of a data set, variant by variant.

    Args:
        root: the data set, or one category's folder.
        output: folder of the results; each category gets one in it.
        variants: to train each category in.
        preset: name of the published settings.
        settings: that stand above the preset; not ``without``, which the variant says.

    Returns:
        Each variant's categories in sorted order.

    Raises:
        InputError: no such folder or preset, or a setting is refused.
    """
    categories = list_categories(root) or [os.path.basename(os.path.abspath(root))]
    names = OutputNames([""])
    folders = {category: output / names.claim(category) for category in categories}
    return [
        Experiment(
            category,
            variant,
            Spec.of(
                DEFAULTS
                | preset_settings(preset, category)
                | dict(settings)
                | {"without": variant.without}
            ),
            folders[category] / f"{variant.name}.safetensors",
        )
        for variant in variants
        for category in categories
    ]


def earlier_experiments(
    output: Path,
    variants: Sequence[Variant],
    planned: Callable[[Sequence[Variant]], list[Experiment]],
) -> list[Experiment]:
    """The experiments of further variants, where an earlier run has left a result of one.

    Args:
        output: folder of the results.
        variants: that are asked for now.
        planned: plans some variants, see :func:`plan_experiments`; a variant that its settings do
            not go with is passed over.
    """
    found: list[Experiment] = []
    for variant in VARIANTS:
        if variant not in variants and any(output.glob(f"*/{variant.name}.json")):
            with suppress(InputError):
                found += planned([variant])
    return found


def check_categories(experiments: Sequence[Experiment], wanted: Sequence[str]) -> None:
    """Refuse names that no experiment has.

    Raises:
        InputError: there is one.
    """
    known = list(dict.fromkeys(experiment.category for experiment in experiments))
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"the nearest, {printable(near[0])}, or another" if near else "one"
            listed = ", ".join(map(printable, known))
            raise InputError(
                f"the data set holds no category {name!r}: by --category give {hint} of: {listed}."
            )
