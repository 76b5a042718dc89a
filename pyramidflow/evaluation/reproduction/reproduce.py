"""Training and measuring one experiment after the other; a stopped run goes on where it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyramidflow.data import CACHE_BYTES, Category, check_trainable, open_dataset
from pyramidflow.detector import Detector
from pyramidflow.errors import CheckpointError, InputError
from pyramidflow.evaluation.evaluate import evaluate
from pyramidflow.evaluation.reproduction.experiments import Experiment
from pyramidflow.evaluation.reproduction.records import (
    Record,
    conditions_of,
    differences,
    files_digest,
    read_record,
    result_of,
    write_record,
)
from pyramidflow.evaluation.thresholds import unused_threshold
from pyramidflow.evaluation.unusable import UNUSABLE, reason_of
from pyramidflow.interrupt import Interrupted
from pyramidflow.io.files import file_digest
from pyramidflow.io.names import printable


@dataclass(frozen=True)
class State:
    """Where an experiment stands.

    Attributes:
        experiment: the experiment.
        record: what is on disk of it; ``None`` where there is nothing to read.
        problem: why it has no result that holds for the settings and files as they are now, in a
            few words; ``None`` where it has one.
        layout: of the data set; ``None`` where the category cannot be read.
    """

    experiment: Experiment
    record: Record | None
    problem: str | None
    layout: str | None


@dataclass(frozen=True)
class Reproduction:
    """Experiments of one data set, with what they need.

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

    def run(self, experiments: Sequence[Experiment], on_result: Callable[[], object]) -> None:
        """Do what is not done yet, one experiment after the other.

        An experiment that fails is recorded with its reason, and tried again by the next run. An
        unfinished training goes on from its checkpoint.

        Args:
            experiments: to do, in this order.
            on_result: called after each experiment.

        Raises:
            InputError: the encoder's weights cannot be read, or a record cannot be written.
            Interrupted: a stop was requested; everything that is needed to go on is on disk.
        """
        for number, experiment in enumerate(experiments, 1):
            place = f"{number} of {len(experiments)}: {experiment.name}"
            state = self.state(experiment)
            if state.problem is None:
                self.say(f"{place}: finished before")
                continue
            self.say(f"{place}: {state.problem}")
            try:
                self.do(experiment)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    f"stopped in {experiment.name}: the same command goes on from there."
                ) from stop
            on_result()

    def state(self, experiment: Experiment) -> State:
        """Compare what is on disk of an experiment with what it should follow from."""
        record = read_record(experiment.record)
        try:
            conditions = self._conditions(experiment)
        except UNUSABLE as error:
            return State(experiment, record, f"failed: {reason_of(error)}", None)
        layout = self._category(experiment.category)[0].layout
        return State(experiment, record, _problem(experiment, record, conditions), layout)

    def do(self, experiment: Experiment) -> None:
        """Train and measure one experiment, whatever there is of it; go on from its checkpoint.

        Args:
            experiment: what fails is recorded in its file.

        Raises:
            InputError: a record cannot be written.
        """
        record = Record({})
        try:
            record = Record(self._conditions(experiment))
            data, _ = self._category(experiment.category)
            _check_complete(data)
            write_record(record, experiment.record)
            detector = self._trained(experiment, data)
            self.say(f"{experiment.name}: {len(data.test)} test images")
            evaluation = evaluate(detector, data)
        except UNUSABLE as error:
            self.fail(experiment, record, reason_of(error))
            return
        write_record(result_of(record.conditions, detector, evaluation), experiment.record)
        experiment.checkpoint.unlink(missing_ok=True)

    def fail(self, experiment: Experiment, record: Record, reason: str) -> None:
        """Say and record why an experiment has no result.

        Args:
            experiment: that failed.
            record: of it so far.
            reason: in a few words.

        Raises:
            InputError: the record cannot be written.
        """
        self.say(f"{experiment.name} failed: {reason}")
        write_record(replace(record, error=reason), experiment.record)

    def _trained(self, experiment: Experiment, data: Category) -> Detector:
        try:
            detector = self._fitted(experiment, data, experiment.checkpoint.exists())
        except CheckpointError as error:
            self.say(f"{experiment.name} starts anew: {error}")
            detector = self._fitted(experiment, data, resume=False)
        detector.save(experiment.file)
        return detector

    def _fitted(self, experiment: Experiment, data: Category, resume: bool) -> Detector:
        detector = Detector(
            spec=experiment.spec, encoder_weights=self.encoder_weights, device=self.device
        )
        with unused_threshold():
            return detector.fit(
                data,
                checkpoint=experiment.checkpoint,
                resume=resume,
                show_progress=self.show_progress,
                cache_bytes=self.cache_bytes,
                max_pixels=self.max_pixels,
            )

    def _conditions(self, experiment: Experiment) -> dict[str, Any]:
        _, files = self._category(experiment.category)
        return conditions_of(experiment.spec, files, self._weights_digest)

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


def _problem(
    experiment: Experiment, record: Record | None, conditions: dict[str, Any]
) -> str | None:
    if record is None:
        return "not trained yet"
    if record.error is not None:
        return f"failed: {record.error}"
    changed = differences(record.conditions, conditions)
    if changed:
        return f"stale: {changed}"
    if not record.is_finished:
        return "not finished"
    return None if experiment.file.is_file() else "its detector is missing"


def _check_complete(data: Category) -> None:
    check_trainable(data.train)
    if not data.test:
        raise InputError(
            f"{printable(data.root)} has no test images: test/good and test/DEFECT are expected "
            "beside train; add them, or leave the category out."
        )
