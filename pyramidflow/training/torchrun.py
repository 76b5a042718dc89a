"""Processes that torchrun started, which train one network together.

Gradients are summed by one reduction of all of them behind the backward pass, not by
``DistributedDataParallel``: the reversible backward pass gives them all at its end, so there is
nothing to overlap with; the loss compares images of different processes, so gradients are summed
and not averaged; and a process may have no image in a step.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from pyramidflow.errors import InputError, LostProcessError
from pyramidflow.runtime.device import resolve_device
from pyramidflow.training.parallel import OneProcess, Parallel

TIMEOUT = timedelta(minutes=10)
"""That a process waits for the others before it gives up."""

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By the type of the device; texts and counts go by gloo."""

MARKS = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""Variables of the environment that torchrun sets; other programs set some of them, too."""

PAUSE = 0.1
"""Seconds from one look at the store to the next."""

FAILED = "pyramidflow/failed"
"""Key under which the first process that fails says so."""


class Store(Protocol):
    """What all processes can see; part of PyTorch's ``Store``."""

    def set(self, key: str, value: str) -> None:
        """Keep a value under a key."""

    def get(self, key: str) -> bytes:
        """The value of a key, once there is one."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys have values."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Set the key if it has the expected value, ``""`` for none; the value that it has then."""


class Processes:
    """A process among several, see :class:`pyramidflow.training.parallel.Parallel`.

    Args:
        rank: number of this process.
        world: how many there are.
        store: that all of them see.

    Raises:
        LostProcessError: by every method, where another process has ended or does not answer.
    """

    def __init__(self, rank: int, world: int, store: Store) -> None:
        self.rank = rank
        self.world = world
        self._store = store
        self._questions = 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum over all processes, in one reduction for each type of the elements."""
        for alike in _by_type(tensors):
            flat = torch.cat([x.detach().reshape(-1) for x in alike])
            with _waiting():
                dist.all_reduce(flat)
            _fill(alike, flat)

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Take the values of process 0."""
        for alike in _by_type(tensors):
            flat = torch.cat([x.detach().reshape(-1) for x in alike])
            with _waiting():
                dist.broadcast(flat, 0)
            _fill(alike, flat)

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows of all processes; padded on their way to the longest part."""
        counts = self._numbers(len(rows))
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        with _waiting():
            dist.all_gather(parts, padded)
        found = [part[:count] for part, count in zip(parts, counts, strict=True)]
        found[self.rank] = rows
        return torch.cat(found)

    def united(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums by name, one tensor at a time: they may be large."""
        own = {name: (list(x.shape), str(x.dtype), x.device.type) for name, x in parts.items()}
        kinds: dict[str, Any] = {}
        for text in self.texts(json.dumps(own)):
            kinds |= json.loads(text)
        found = {}
        for name in sorted(kinds):
            if name in parts:
                total = parts[name].detach().clone(memory_format=torch.contiguous_format)
            else:
                shape, dtype, device = kinds[name]
                kind = getattr(torch, dtype.removeprefix("torch."))
                total = torch.zeros(shape, dtype=kind, device=device)
            with _waiting():
                dist.all_reduce(total)
            found[name] = total
        return found

    def texts(self, text: str) -> list[str]:
        """What each process says."""
        own = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = self._numbers(len(own))
        padded = torch.zeros(max(1, *lengths), dtype=torch.uint8)
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in lengths]
        with _waiting():
            dist.all_gather(parts, padded)
        return [
            part[:length].numpy().tobytes().decode()
            for part, length in zip(parts, lengths, strict=True)
        ]

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so."""
        return any(self._numbers(int(said)))

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self._numbers(0)

    def told(self, find: Callable[[], str]) -> str:
        """What process 0 finds; the others look again and again, so that signals reach them."""
        self._questions += 1
        key = f"pyramidflow/answer {self._questions}"
        if self.rank == 0:
            text = find()
            with _waiting():
                self._store.set(key, text)
            return text
        with _waiting():
            while not self._store.check([key]):
                if self._store.check([FAILED]):
                    raise RuntimeError("it failed")
                time.sleep(PAUSE)
            return self._store.get(key).decode()

    def _numbers(self, number: int) -> list[int]:
        own = torch.tensor([number])
        parts = [torch.empty_like(own) for _ in range(self.world)]
        with _waiting():
            dist.all_gather(parts, own)
        return [int(part) for part in parts]

    def fails_first(self) -> bool:
        """Whether this process, which fails, is the first one of them: it alone says why."""
        own = str(self.rank)
        try:
            return bool(self._store.compare_set(FAILED, "", own).decode() == own)
        except RuntimeError:  # whoever keeps the store has ended
            return True


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    found: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for x in tensors:
        found.setdefault((x.dtype, x.device), []).append(x)
    return list(found.values())


def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    pieces = torch.split(flat, [x.numel() for x in tensors])
    for x, piece in zip(tensors, pieces, strict=True):
        x.detach().copy_(piece.view(x.shape))


@contextmanager
def _waiting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise LostProcessError(
            f"another process of this training has ended or does not answer ({reason}): see what "
            "it said, and go on with --resume."
        ) from error


def started() -> int:
    """How many processes torchrun started, this one among them; 1 where it did not."""
    return int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= MARKS else 1


def local_rank() -> int:
    """Number of this process among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def own_device(device: str) -> str:
    """The device of this process: of GPUs each process of a machine has its own.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``; where one process trains, any device.

    Raises:
        InputError: there are fewer GPUs than processes, or one GPU is named for all of them.
    """
    if started() == 1 or device == "cpu":
        return device
    if device not in ("auto", "cuda"):
        raise InputError(
            f"the device is {device!r}, but {started()} processes train together: give cuda, of "
            "which each takes its own, or cpu."
        )
    there = torch.cuda.device_count()
    if there == 0:
        return str(resolve_device(device))  # says why a GPU that was asked for is not there
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > there:
        raise InputError(
            f"{here} processes were started on a machine with {there} GPUs: start as many as there "
            "are GPUs, or give the device cpu."
        )
    return f"cuda:{local_rank()}"


@contextmanager
def processes(device: str = "cpu") -> Iterator[Parallel]:
    """The processes that torchrun started, or this one alone where it did not.

    Args:
        device: of this process, see :func:`own_device`.

    Yields:
        This process among them.

    Raises:
        InputError: the processes do not find one another.
    """
    if started() == 1:
        yield OneProcess()
        return
    if not dist.is_available():
        raise InputError(
            f"{started()} processes were started, but this PyTorch is built without distributed "
            "training: start one, or install a PyTorch that has it."
        )
    # Its functions have the group that is there when they are imported (by an optimizer's first
    # step) as a default argument. Such a group would outlive this block, and a thread of it that
    # drops its last tensor while the interpreter ends aborts the process.
    import_module("torch.distributed.nn.functional")
    from torch.distributed.rendezvous import rendezvous

    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    try:
        store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
        dist.init_process_group(
            BACKENDS[chosen.type], store=store, rank=rank, world_size=world, timeout=TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"the {started()} processes of this training do not find one another ({reason}): start "
            "them with torchrun."
        ) from error
    try:
        yield Processes(rank, world, store)
    finally:
        dist.destroy_process_group()
