"""The engine ``ray``: Ray Data hands blocks of pictures to processes with a session each."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyramidflow.bulk.cluster import Cluster, ClusterSettings, connected, silence
from pyramidflow.bulk.inspecting import Inspecting
from pyramidflow.bulk.listing import Picture
from pyramidflow.bulk.work import Away, Conditions, Outcome, Work
from pyramidflow.errors import InputError
from pyramidflow.io.files import file_digest
from pyramidflow.io.names import printable
from pyramidflow.line.frame import now
from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.pipeline.pipeline import Flow
from pyramidflow.line.record import Record

if TYPE_CHECKING:
    from pyarrow import Table

ROWS: Final = 16
"""Most pictures of a block: what a worker that dies leaves to others."""

ROUNDS: Final = 8
"""Blocks of each worker, at least, where there are few pictures: so that all end together."""

STRETCH: Final = 100_000
"""Pictures of one data set; behind them the workers start anew."""

TRIES: Final = 3
"""Of a block whose worker dies, before its pictures are looked at one by one; and of each then."""

_KINDS: Final = ("overlay", "map")
_SECONDS_TO_ANSWER: Final = 300.0
"""For a worker to be there; a cluster that grows needs a while."""


class Worker:
    """One process of the cluster: a session that Ray Data hands blocks to.

    Args:
        work: what to inspect with.
        cluster: that the process is part of.
        model: reference to the content of the detector's file.
    """

    def __init__(self, work: Work, cluster: Cluster, model: Any) -> None:
        import ray

        self._inspecting = _open(work, cluster, ray.get(model))

    def __call__(self, block: "Table") -> "Table":
        """Inspect the pictures of a block.

        Args:
            block: with the column ``picture``.

        Returns:
            What came of each: ``identity``, and ``record`` with its pictures, or ``away``.
        """
        import pyarrow

        pictures = [Picture(**json.loads(text)) for text in block.column("picture").to_pylist()]
        rows = [
            _packed(outcome) for some in self._inspecting.outcomes(pictures) for outcome in some
        ]
        texts = [(name, pyarrow.string()) for name in ("identity", "record", "away")]
        contents = [(kind, pyarrow.large_binary()) for kind in _KINDS]
        return pyarrow.Table.from_pylist(rows, schema=pyarrow.schema([*texts, *contents]))


class RayEngine:
    """Inspects on a cluster, in the order in which blocks become ready.

    A worker that dies starts anew, and its block is done again. Pictures whose worker dies each
    time are told by an error in their record.

    Args:
        work: what to inspect with.
        cluster: that this process is connected to.
        model: reference to the content of the detector's file.
        conditions: as a worker has them.
    """

    def __init__(self, work: Work, cluster: Cluster, model: Any, conditions: Conditions) -> None:
        self._work = work
        self._cluster = cluster
        self._model = model
        self._conditions = conditions

    @property
    def conditions(self) -> Conditions:
        """What its verdicts follow from."""
        return self._conditions

    def outcomes(
        self, pictures: Iterable[Picture], stop_requested: Callable[[], bool]
    ) -> Iterator[Sequence[Outcome]]:
        """Inspect pictures; see :class:`pyramidflow.bulk.work.Engine`."""
        waiting = iter(pictures)
        while not stop_requested() and (stretch := list(islice(waiting, STRETCH))):
            left = {picture.identity: picture for picture in stretch}
            fair = ceil(len(left) / (ROUNDS * self._cluster.workers))
            yield from self._pass(left, min(ROWS, fair), stop_requested)
            if left and not stop_requested():
                self._check_answers()
                yield from self._pass(left, 1, stop_requested)
            if left and not stop_requested():
                self._check_answers()
                yield [self._lost(picture) for picture in left.values()]

    def _pass(
        self, left: dict[str, Picture], rows: int, stop_requested: Callable[[], bool]
    ) -> Iterator[Sequence[Outcome]]:
        """Inspect what is left, in blocks of some; what has an outcome is taken out."""
        try:
            blocks = self._blocks(list(left.values()), rows)
            for block in blocks:
                found = []
                for row in block.to_pylist():
                    picture = left.pop(row["identity"], None)
                    if picture is not None:  # a block that was done twice
                        found.append(_unpacked(row, picture))
                yield found
                if stop_requested():
                    return
        except InputError:
            raise
        except Exception as error:  # of Ray: all kinds
            raise InputError(
                f"Ray ended the work ({type(error).__name__}: {_first_line(error)}): see whether "
                "the cluster is in order; the same command goes on from here."
            ) from error

    def _blocks(self, pictures: Sequence[Picture], rows: int) -> Iterable["Table"]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        items = [{"picture": json.dumps(asdict(picture))} for picture in pictures]
        count = ceil(len(items) / rows)
        in_hand = 1 if rows == 1 else 2
        retries = TRIES - 1
        with warnings.catch_warnings(), DataContext.current(_context(DataContext.get_current())):
            warnings.simplefilter("ignore")  # Ray's way to bound the retries is to change
            found = ray.data.from_items(items, override_num_blocks=count).map_batches(
                Worker,
                fn_constructor_args=(self._work, self._cluster, self._model),
                compute=ActorPoolStrategy(
                    size=min(self._cluster.workers, count), max_tasks_in_flight_per_actor=in_hand
                ),
                batch_size=None,
                batch_format="pyarrow",
                ray_remote_args_fn=lambda: {"max_task_retries": retries},
                **self._cluster.share,
            )
            blocks: Iterable[Table] = found.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            )
        return blocks

    def _check_answers(self) -> None:
        """Refuse to take pictures for deadly where the cluster itself is the reason.

        Raises:
            InputError: no worker answers.
        """
        conditions_on(self._work, self._cluster, self._model)

    def _lost(self, picture: Picture) -> Outgoing:
        sentence = (
            f"{printable(picture.origin)} was not inspected: the process that looked at it ended "
            f"{TRIES} times; see whether the file is sound and the memory large enough, and "
            "inspect it alone."
        )
        return Outgoing(
            Record(
                path=picture.origin,
                error=sentence,
                identity=picture.identity,
                station=self._work.station,
                time=now(),
                detector=self._conditions.model,
            )
        )


@contextmanager
def ray_engine(work: Work, settings: ClusterSettings) -> Iterator[RayEngine]:
    """Connect to a cluster, and see that its workers can do the work.

    Args:
        work: what to inspect with.
        settings: which cluster.

    Raises:
        InputError: the cluster cannot be had, or a worker refuses the detector or a setting.
    """
    file_digest(work.model)  # says what is wrong with the file
    content = work.model.read_bytes()
    with connected(settings, work.device) as cluster:
        import ray

        given = dict(work.settings)
        if cluster.device == "cpu":
            given["threads"] = cluster.threads
        there = replace(work, device=cluster.device, settings=given)
        model = ray.put(content)
        yield RayEngine(there, cluster, model, conditions_on(there, cluster, model))


def conditions_on(work: Work, cluster: Cluster, model: Any) -> Conditions:
    """What a worker's verdicts would follow from.

    Args:
        work: what to inspect with.
        cluster: that this process is connected to.
        model: reference to the content of the detector's file.

    Raises:
        InputError: a worker refuses the work, or none answers within a time.
    """
    import ray

    ask: Any = ray.remote(max_retries=TRIES - 1, **cluster.share)(_tried)
    try:
        found = ray.get(ask.remote(work, cluster, model), timeout=_SECONDS_TO_ANSWER)
    except ray.exceptions.RayError as error:
        raise InputError(
            f"no worker of the cluster answers ({type(error).__name__}: {_first_line(error)}): see "
            "whether this package is installed on its machines, and whether they have room."
        ) from error
    if isinstance(found, str):
        raise InputError(found)
    conditions: Conditions = found
    return conditions


def _tried(work: Work, cluster: Cluster, content: bytes) -> Conditions | str:
    try:
        return _open(work, cluster, content).conditions
    except InputError as error:
        return str(error)


def _open(work: Work, cluster: Cluster, content: bytes) -> Inspecting:
    """A session in a worker, whose machine need not have the detector's file."""
    import torch

    torch.set_num_threads(cluster.threads)
    is_alone = cluster.device == "cpu" and cluster.threads == 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, work.model.name)
        file.write_bytes(content)
        try:
            return Inspecting(replace(work, model=file), Flow(workers=0) if is_alone else None)
        except InputError as error:
            raise InputError(str(error).replace(printable(file), printable(work.model))) from error


def _context(current: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Ray's own older settings
        context = current.copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.memory_usage_poll_interval_s = None
    context.max_errored_blocks = -1  # they are tried again, picture by picture
    silence(logging.getLogger("ray.data"))
    return context


def _packed(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Away):
        return {"identity": outcome.picture.identity, "away": outcome.reason}
    record = outcome.record
    time = None if record.time is None else record.time.isoformat()
    text = json.dumps({**vars(record), "time": time})
    return {"identity": record.identity, "record": text, **outcome.pictures}


def _unpacked(row: Mapping[str, Any], picture: Picture) -> Outcome:
    if row["away"] is not None:
        return Away(picture, row["away"])
    known = json.loads(row["record"])
    time = None if known["time"] is None else datetime.fromisoformat(known["time"])
    pictures = {kind: row[kind] for kind in _KINDS if row[kind] is not None}
    return Outgoing(Record(**{**known, "time": time}), pictures)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0]).rstrip(".") if lines else "no more is known"
