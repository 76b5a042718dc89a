"""Which detectors are to be measured on which categories, and what their results are called."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data import Category, list_categories, open_dataset
from pyramidflow.detector.artifact import read_header
from pyramidflow.errors import InputError
from pyramidflow.evaluation.unusable import UNUSABLE, reason_of
from pyramidflow.io.names import printable


@dataclass(frozen=True)
class Job:
    """One detector to measure on one category.

    Attributes:
        file: the detector file.
        category: its test images and their ground truth.
        name: of the folder for the results, no two alike.
    """

    file: Path
    category: Category
    name: str


@dataclass(frozen=True)
class FailedJob:
    """A detector that cannot be measured.

    Attributes:
        file: the detector file.
        reason: in a sentence.
    """

    file: Path
    reason: str


def find_detectors(model: Path) -> list[Path]:
    """The detector files that a path names: itself, or those in the folder, sorted.

    Args:
        model: a detector file or a folder of them; checkpoints are passed over.

    Raises:
        InputError: the folder holds no detector file.
    """
    if not model.is_dir():
        return [model]
    files = sorted(
        file
        for file in model.glob("*.safetensors")
        if not file.name.endswith(".checkpoint.safetensors")
    )
    if not files:
        raise InputError(
            f"there is no detector file (*.safetensors) in {printable(model)}: train one first."
        )
    return files


def plan_jobs(
    files: Sequence[Path], data: Path, category: str | None
) -> tuple[list[Job], list[FailedJob]]:
    """Check every file and open its category, so that what is wrong is said before long work.

    Args:
        files: detector files.
        data: the data set.
        category: the one to measure all on; ``None`` takes, where there are several, the one that
            each detector was trained on.

    Returns:
        The jobs, and the detectors that cannot be measured. A job's folder is called as its
        category, or as its detector's file where several of the jobs are on categories of one name.
    """
    opened: list[tuple[Path, Category]] = []
    failed: list[FailedJob] = []
    for file in files:
        try:
            opened.append((file, _category_of(file, data, category)))
        except UNUSABLE as error:
            failed.append(FailedJob(file, reason_of(error)))
    times = Counter(_folded(chosen.name) for _, chosen in opened)
    taken: set[str] = set()
    jobs = []
    for file, chosen in opened:
        wanted = chosen.name if times[_folded(chosen.name)] == 1 else file.stem
        name, number = wanted, 2
        while _folded(name) in taken:
            name, number = f"{wanted}-{number}", number + 1
        taken.add(_folded(name))
        jobs.append(Job(file, chosen, name))
    return jobs, failed


def _category_of(file: Path, data: Path, category: str | None) -> Category:
    training = read_header(file).training
    if category is None and training is not None and len(list_categories(data)) > 1:
        category = training.category
    return open_dataset(data, category)


def _folded(name: str) -> str:
    # Some file systems tell neither cases nor Unicode forms apart.
    return unicodedata.normalize("NFC", name).casefold()
