"""What the parts of a convolution cost on this machine: measured once, then kept on disk.

One file for each processor and compiled library, so that every process plans alike. Where it cannot
be kept, each process would measure a little differently and give other bits: the nominal costs are
taken there.
"""

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pyramidflow import machine
from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically
from pyramidflow.ops.convolution.methods import NOMINAL, TILES, Costs
from pyramidflow.ops.libraries import cpu, loading
from pyramidflow.runtime.cpu import probe

VARIABLE = "PYRAMIDFLOW_COSTS"
"""Environment variable; ``nominal`` measures nothing, so that every machine chooses alike."""

VERSION = 1
"""Of the file and of what is measured for it."""

PATIENCE = 10.0
"""Seconds to wait for another process that measures."""


@dataclass(frozen=True)
class MachineCosts:
    """The costs that plans of this process are made with.

    Attributes:
        costs: of the parts of a convolution.
        origin: whose they are, as a plan says it.
        file: where they are kept; ``None`` where they were not measured.
    """

    costs: Costs
    origin: str
    file: Path | None = None


@cache
def machine_costs() -> MachineCosts:
    """The costs on this machine, measured if no process before has; it never fails for that.

    Raises:
        LibraryError: the compiled library does not load.
    """
    if os.environ.get(VARIABLE) == "nominal":
        return _nominal(f"{VARIABLE}=nominal")
    processor = machine.processor_name()
    file = cache_folder() / f"costs-{_key(processor)}.json"
    try:
        found = _read(file) or _measured(file, processor)
    except (InputError, OSError, NotImplementedError, Timeout) as error:
        return _nominal(f"{type(error).__name__}: costs cannot be kept in {file.parent}")
    except (MemoryError, ArithmeticError, np.linalg.LinAlgError) as error:
        return _nominal(f"{type(error).__name__}: costs cannot be measured")
    costs, day = found
    return MachineCosts(costs, f"{processor}, measured on {day}", file)


def cache_folder() -> Path:
    """The folder of this package among the user's caches, as the platform has them."""
    home = Path.home()
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        caches = home / "Library" / "Caches"
    else:
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        caches = given if given.is_absolute() else home / ".cache"
    return caches / "pyramidflow"


def _nominal(reason: str) -> MachineCosts:
    return MachineCosts(NOMINAL, f"an AMD EPYC (Zen 4), nominal: {reason}")


def _key(processor: str) -> str:
    """Of everything that changes what is measured."""
    sources = loading.source_digest(loading.load("cpu"), "cpu")
    parts = (VERSION, processor, cpu.level(), sources)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _read(file: Path) -> tuple[Costs, str] | None:
    """Costs and the day of their measurement; ``None`` where there is no such file in order."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        given, day = content["costs"], datetime.fromisoformat(content["measured"]).date()
        transforms = tuple(map(float, given["transforms"]))
        rates = {
            field.name: float(given[field.name])
            for field in fields(Costs)
            if field.name != "transforms"
        }
    except (OSError, ValueError, TypeError, KeyError):
        return None
    numbers = (*rates.values(), *transforms)
    if len(transforms) != len(TILES) or not all(isfinite(x) and x > 0 for x in numbers):
        return None
    return Costs(**rates, transforms=transforms), str(day)


def _measured(file: Path, processor: str) -> tuple[Costs, str]:
    """Measure and keep, unless another process has meanwhile: then what that one kept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A lock that cannot be written would look like one that is taken.
    tempfile.TemporaryFile(dir=file.parent).close()
    with FileLock(file.with_suffix(".lock"), timeout=PATIENCE):
        found = _read(file)
        if found is None:
            found = probe.measure(), str(datetime.now(timezone.utc).date())
            content = {"costs": asdict(found[0]), "measured": found[1], "processor": processor}
            text = json.dumps(content, indent=2) + "\n"
            write_atomically(file, lambda stream: stream.write(text.encode()))
    return found
