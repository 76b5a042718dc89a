"""A Ray cluster to work on: one that runs, or one of this process's own."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

STORE_BYTES: Final = 500_000_000
"""Memory that the processes of an own cluster share."""

_SECONDS_TO_START: Final = 90.0
_TRIES_TO_START: Final = 3
_SECONDS_TO_REACH: Final = 5.0
_ABOVE_ALL: Final = logging.CRITICAL + 1


@dataclass(frozen=True)
class ClusterSettings:
    """Which cluster, and how much of it.

    Attributes:
        address: ``HOST:PORT`` of a cluster that this machine is part of; ``"auto"`` takes the one
            that runs here, or starts one; ``None`` starts one.
        workers: processes; ``None`` takes what fits.
        threads: of each on the CPU; ``None`` is one.
        store_bytes: memory that the processes of an own cluster share.
    """

    address: str | None = None
    workers: int | None = None
    threads: int | None = None
    store_bytes: int = STORE_BYTES


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        device: of the work, ``"cpu"`` or ``"cuda"``.
        workers: processes that work at once.
        threads: of each.
    """

    device: str
    workers: int
    threads: int

    @property
    def share(self) -> dict[str, int]:
        """What Ray sets aside for one worker."""
        if self.device == "cuda":
            return {"num_cpus": 1, "num_gpus": 1}
        return {"num_cpus": self.threads}


@contextmanager
def connected(settings: ClusterSettings, device: str, most: int | None = None) -> Iterator[Cluster]:
    """Connect to a cluster for the time of the context.

    An own cluster has no dashboard, sends no statistics and ends with the context. Where this
    process is connected already, that cluster is taken, and stays.

    Args:
        settings: which cluster.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: a GPU for each worker where there are any.
        most: workers that can be of use; ``None`` for any number.

    Raises:
        InputError: it cannot be reached or started within a time, has no GPU, or is too small; or
            the device is none of the three.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"the device is {printable(device)}: with --engine ray give cpu, cuda or auto, and Ray "
            "hands out the GPUs."
        )
    import ray

    if ray.is_initialized():
        yield _measured(ray, settings, device, most)
        return
    ended = threading.Event()
    _connect(ray, settings, ended, _resources(settings, device, most))
    try:
        yield _measured(ray, settings, device, most)
    finally:
        ray.shutdown()
        ended.set()


def silence(logger: logging.Logger) -> None:
    """Let a logger of Ray write to its files alone.

    The handlers of terminals are taken off it, and stay as they are: others may use them elsewhere.
    One that keeps its records would keep the workers, too, which their tracebacks refer to.

    Args:
        logger: with handlers of its own.
    """
    for handler in tuple(logger.handlers):
        if isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        ):
            logger.removeHandler(handler)


def _connect(
    ray: Any, settings: ClusterSettings, ended: threading.Event, resources: Mapping[str, int]
) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it writes to standard error, too
    quiet = {"logging_level": _ABOVE_ALL, "log_to_driver": False}
    address = settings.address
    if address is not None and address != "auto":
        _check_reachable(address)
        _within_time(lambda: ray.init(address=address, **quiet), address, ended)
        return
    if address == "auto":
        try:
            _within_time(lambda: ray.init(address="auto", **quiet), "auto", ended)
            return
        except ConnectionError:  # none runs here
            pass
    own = {
        **resources,
        "include_dashboard": False,
        "object_store_memory": settings.store_bytes,
    }
    for number in range(_TRIES_TO_START):
        try:
            _within_time(lambda: ray.init(address="local", **own, **quiet), "a new cluster", ended)
            return
        except InputError:
            # Ray gives its own processes half a minute, which a busy machine may not keep.
            if number == _TRIES_TO_START - 1:
                raise


def _resources(settings: ClusterSettings, device: str, most: int | None) -> dict[str, int]:
    """What an own cluster has: what is asked for, or what the machine has."""
    import torch

    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        gpus = min(gpus, settings.workers or gpus, most or gpus)
        return {"num_cpus": max(gpus, 1), "num_gpus": gpus}
    threads = settings.threads or 1
    workers = settings.workers or max(1, _cores() // threads)
    return {"num_cpus": threads * min(workers, most or workers), "num_gpus": 0}


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _measured(ray: Any, settings: ClusterSettings, device: str, most: int | None) -> Cluster:
    there = ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise InputError("the device is cuda: the cluster has no GPU; give cpu, or another one.")
    if gpus and device != "cpu":
        found = Cluster("cuda", gpus, settings.threads or 1)
    else:
        threads = settings.threads or 1
        found = Cluster("cpu", cores // threads, threads)
    if not found.workers:
        raise InputError(
            f"a worker is to have {found.threads} cores: the cluster has {cores}; give less "
            "--threads."
        )
    workers = settings.workers or found.workers
    if most is not None:
        workers = min(workers, most)
    if workers > found.workers:
        unit = "GPUs" if found.device == "cuda" else f"times {found.threads} cores"
        raise InputError(
            f"{workers} workers are asked for: the cluster has {found.workers} {unit}; give fewer "
            "--workers or less --threads."
        )
    return Cluster(found.device, workers, found.threads)


def _check_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise InputError(
            f"the address is {printable(address)}: HOST:PORT of a Ray cluster is expected, or auto "
            "on a machine that is part of one."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_REACH).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"nothing answers at {printable(address)} ({error}): start a Ray cluster there (ray "
            "start --head), or leave --address out for one of this machine's own."
        ) from error


@contextmanager
def _no_standard_error() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _within_time(connect: Callable[[], object], name: str, ended: threading.Event) -> None:
    """Call what may hang, for a time.

    Args:
        connect: to call.
        name: of what it connects to.
        ended: set when the connection is closed.

    Raises:
        InputError: it failed, or the time is over.
        ConnectionError: there is no cluster.
    """
    failure: list[Exception] = []
    answered = threading.Event()

    def call() -> None:
        try:
            connect()
        except Exception as error:
            failure.append(error)
        answered.set()
        if not failure:
            # Linux ends Ray's processes together with the thread that started them.
            ended.wait()

    # A daemon: where it hangs, the process ends all the same. Outside the main thread Ray takes
    # no signal for itself.
    logging.getLogger("ray").setLevel(_ABOVE_ALL)
    with _no_standard_error():  # Ray's libraries write there, whatever they are told
        threading.Thread(target=call, name="ray", daemon=True).start()
        answered.wait(_SECONDS_TO_START)
    if answered.is_set() and not failure:
        return
    if failure and isinstance(failure[0], ConnectionError) and name == "auto":
        raise failure[0]
    reason = failure[0] if failure else f"no answer within {_SECONDS_TO_START:.0f} s"
    raise InputError(
        f"Ray could not connect to {printable(name)} ({printable(reason)}): see the logs below "
        "/tmp/ray, or use --engine line."
    )
