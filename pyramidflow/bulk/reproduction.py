"""Experiments of a reproduction side by side, each a task of a Ray cluster."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pyramidflow.bulk.cluster import Cluster, ClusterSettings, connected
from pyramidflow.evaluation.reproduction import Experiment, Record, Reproduction, read_record
from pyramidflow.interrupt import Interrupted

_TRIES: Final = 3
"""Of an experiment whose process dies."""

_SECONDS_TO_STOP: Final = 120.0
"""For trainings to finish their step and write their checkpoints."""


def reproduce_side_by_side(
    reproduction: Reproduction,
    experiments: Sequence[Experiment],
    on_result: Callable[[], object],
    settings: ClusterSettings,
) -> None:
    """Do what is not done yet, as many experiments at once as the cluster has room for.

    Every machine of the cluster must see the data set and the folder of the results under the same
    paths. Each experiment is done as :meth:`~pyramidflow.evaluation.reproduction.Reproduction.do`
    does it: an unfinished training goes on from its checkpoint, also after its process has died.

    Args:
        reproduction: what they need.
        experiments: to do.
        on_result: called after each experiment.
        settings: which cluster.

    Raises:
        InputError: the cluster cannot be had, the encoder's weights cannot be read, or a record
            cannot be written.
        Interrupted: a stop was requested; everything that is needed to go on is on disk.
    """
    left = []
    for number, experiment in enumerate(experiments, 1):
        state = reproduction.state(experiment)
        said = "finished before" if state.problem is None else state.problem
        reproduction.say(f"{number} of {len(experiments)}: {experiment.name}: {said}")
        if state.problem is not None:
            left.append(experiment)
    if not left:
        return
    with connected(_shared_out(settings, len(left)), reproduction.device, len(left)) as cluster:
        _Running(reproduction, cluster).all(left, on_result)


class _Running:
    """Tasks of a cluster.

    Args:
        reproduction: what the experiments need.
        cluster: that this process is connected to.
    """

    def __init__(self, reproduction: Reproduction, cluster: Cluster) -> None:
        import ray

        self._ray: Any = ray
        self._reproduction = reproduction
        self._cluster = cluster
        self._tasks: dict[Any, Experiment] = {}

    def all(self, experiments: Sequence[Experiment], on_result: Callable[[], object]) -> None:
        share = self._cluster.share
        start = self._ray.remote(max_retries=_TRIES - 1, **share)(_do)
        there = _shared(self._reproduction, self._cluster)
        for experiment in experiments:
            file = Path(os.path.abspath(experiment.file))
            task = start.remote(there, replace(experiment, file=file), self._cluster.threads)
            self._tasks[task] = experiment
        try:
            while self._tasks:
                [task], _ = self._ray.wait(list(self._tasks), num_returns=1)
                self._end(task, self._tasks[task])
                del self._tasks[task]
                on_result()
        except KeyboardInterrupt as stop:
            names = ", ".join(experiment.name for experiment in self._tasks.values())
            self._stop()
            raise Interrupted(f"stopped in {names}: the same command goes on from there.") from stop

    def _end(self, task: Any, experiment: Experiment) -> None:
        try:
            for line in self._ray.get(task):
                self._reproduction.say(line)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            reason = f"its process ended {_TRIES} times ({type(error).__name__})"
            record = read_record(experiment.record) or Record({})
            self._reproduction.fail(experiment, record, reason)

    def _stop(self) -> None:
        """Ask every training to write its checkpoint, and wait."""
        for task in self._tasks:
            self._ray.cancel(task, force=False)
        self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=_SECONDS_TO_STOP)


def _do(reproduction: Reproduction, experiment: Experiment, threads: int) -> list[str]:
    """Do an experiment in a process of the cluster; returns what is to be said of it."""
    import torch

    torch.set_num_threads(threads)
    said: list[str] = []
    replace(reproduction, show_progress=False, say=said.append).do(experiment)
    return said


def _silent(line: str) -> None:
    """Say nothing: a task says it in the end."""


def _shared(reproduction: Reproduction, cluster: Cluster) -> Reproduction:
    """What each worker gets: paths that start from no folder, and its part of the memory."""
    weights = reproduction.encoder_weights
    return replace(
        reproduction,
        root=Path(os.path.abspath(reproduction.root)),
        encoder_weights=None if weights is None else Path(os.path.abspath(weights)),
        device=cluster.device,
        cache_bytes=reproduction.cache_bytes // cluster.workers,
        say=_silent,
    )


def _shared_out(settings: ClusterSettings, experiments: int) -> ClusterSettings:
    """With the threads that an own cluster's cores allow each of the experiments.

    Of a cluster that there is already the cores are not this machine's, and bits of a training
    follow from the number of threads: it keeps one for each worker.
    """
    import ray

    is_given = settings.address is not None or ray.is_initialized()
    if settings.threads is not None or is_given:
        return settings
    workers = min(settings.workers or experiments, experiments)
    return replace(settings, threads=max(1, (os.cpu_count() or 1) // workers))
