"""Training and measuring trial after trial, so that a stopped run goes on where it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyramidflow.data import CACHE_BYTES, Category, check_trainable, open_dataset
from pyramidflow.detector import Detector
from pyramidflow.errors import CheckpointError, InputError
from pyramidflow.evaluation.evaluate import evaluate
from pyramidflow.evaluation.reproduction.records import (
    Record,
    conditions_of,
    differences,
    files_digest,
    read_record,
    result_of,
    write_record,
)
from pyramidflow.evaluation.reproduction.trials import Trial
from pyramidflow.evaluation.thresholds import unused_threshold
from pyramidflow.interrupt import Interrupted
from pyramidflow.io.files import file_digest
from pyramidflow.io.names import printable

UNUSABLE = (InputError, OSError, MemoryError, RuntimeError)
"""Errors that end a trial and not the others; PyTorch says by RuntimeError that memory is full."""


@dataclass(frozen=True)
class State:
    """Where a trial stands.

    Attributes:
        trial: the trial.
        record: what is on disk of it; ``None`` where there is nothing to read.
        problem: why it has no result that holds for the settings and files as they are now, in a
            few words; ``None`` where it has one.
        layout: of the data set; ``None`` where the category cannot be read.
    """

    trial: Trial
    record: Record | None
    problem: str | None
    layout: str | None


@dataclass(frozen=True)
class Reproduction:
    """Trials of one data set, with what they need.

    Attributes:
        root: the data set.
        encoder_weights: file with the encoder's weights; ``None`` takes its own source.
        device: to train on.
        cache_bytes: memory for decoded images.
        max_pixels: pixels of the largest picture that is decoded; ``None`` is the package's own.
        show_progress: show each training's bar and epochs on standard error.
        say: takes a line that people should read while it runs.
    """

    root: Path
    encoder_weights: Path | None = None
    device: str = "auto"
    cache_bytes: int = CACHE_BYTES
    max_pixels: int | None = None
    show_progress: bool = True
    say: Callable[[str], object] = lambda line: None

    def run(self, trials: Sequence[Trial], on_result: Callable[[], object]) -> None:
        """Do what is not done yet, one trial after the other.

        A trial that fails is recorded with its reason, and tried again by the next run. An
        unfinished training goes on from its checkpoint.

        Args:
            trials: to do, in this order.
            on_result: called after each trial.

        Raises:
            InputError: the encoder's weights cannot be read, or a record cannot be written.
            Interrupted: a stop was requested; everything that is needed to go on is on disk.
        """
        for number, trial in enumerate(trials, 1):
            place = f"{number} of {len(trials)}: {trial.name}"
            state = self.state(trial)
            if state.problem is None:
                self.say(f"{place}: finished before")
                continue
            self.say(f"{place}: {state.problem}")
            try:
                self._do(trial, state.record)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    f"stopped in {trial.name}: the same command goes on from there."
                ) from stop
            on_result()

    def state(self, trial: Trial) -> State:
        """Compare what is on disk of a trial with what it should follow from."""
        record = read_record(trial.record)
        try:
            conditions = self._conditions(trial)
        except UNUSABLE as error:
            return State(trial, record, f"failed: {_reason(error)}", None)
        layout = self._category(trial.category)[0].layout
        return State(trial, record, _problem(trial, record, conditions), layout)

    def _do(self, trial: Trial, earlier: Record | None) -> None:
        record = Record({})
        try:
            record = Record(self._conditions(trial))
            data, _ = self._category(trial.category)
            _check_complete(data)
            # Its frozen weights are in the checkpoint, which would bring the earlier ones back.
            if earlier is None or _weights(earlier) != _weights(record):
                trial.checkpoint.unlink(missing_ok=True)
            write_record(record, trial.record)
            detector = self._trained(trial, data)
            self.say(f"{trial.name}: {len(data.test)} test images")
            evaluation = evaluate(detector, data)
        except UNUSABLE as error:
            self.say(f"{trial.name} failed: {_reason(error)}")
            write_record(replace(record, error=_reason(error)), trial.record)
            return
        write_record(result_of(record.conditions, detector, evaluation), trial.record)
        trial.checkpoint.unlink(missing_ok=True)

    def _trained(self, trial: Trial, data: Category) -> Detector:
        try:
            detector = self._fitted(trial, data, trial.checkpoint.exists())
        except CheckpointError as error:
            self.say(f"{trial.name} starts anew: {error}")
            detector = self._fitted(trial, data, resume=False)
        detector.save(trial.file)
        return detector

    def _fitted(self, trial: Trial, data: Category, resume: bool) -> Detector:
        detector = Detector(
            spec=trial.spec, encoder_weights=self.encoder_weights, device=self.device
        )
        with unused_threshold():
            return detector.fit(
                data,
                checkpoint=trial.checkpoint,
                resume=resume,
                show_progress=self.show_progress,
                cache_bytes=self.cache_bytes,
                max_pixels=self.max_pixels,
            )

    def _conditions(self, trial: Trial) -> dict[str, Any]:
        _, files = self._category(trial.category)
        return conditions_of(trial.spec, files, self._weights_digest)

    def _category(self, name: str) -> tuple[Category, str]:
        if name not in self._opened:
            data = open_dataset(self.root, name)
            self._opened[name] = data, files_digest(data)
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, tuple[Category, str]]:
        return {}

    @cached_property
    def _weights_digest(self) -> str | None:
        return None if self.encoder_weights is None else file_digest(self.encoder_weights)


def _problem(trial: Trial, record: Record | None, conditions: dict[str, Any]) -> str | None:
    if record is None:
        return "not trained yet"
    if record.error is not None:
        return f"failed: {record.error}"
    changed = differences(record.conditions, conditions)
    if changed:
        return f"stale: {changed}"
    if not record.is_finished:
        return "not finished"
    return None if trial.file.is_file() else "its detector is missing"


def _check_complete(data: Category) -> None:
    check_trainable(data.train)
    if not data.test:
        raise InputError(
            f"{printable(data.root)} has no test images: test/good and test/DEFECT are expected "
            "beside train; add them, or leave the category out."
        )


def _weights(record: Record) -> Any:
    return record.conditions.get("encoder_weights_digest")


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0]) if lines else type(error).__name__
