"""The parts of a run: ``python -m benchmarks.gpu.parts PART FILE DEADLINE [--rehearse]``.

A part calls ``emit`` with each record, which is a line of JSON in the file from then on.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.process import ROOT
from benchmarks.harness.results import strict

Record = dict[str, Any]


class MissingError(Exception):
    """What a part needs and this machine does not have."""


@dataclass(frozen=True)
class Run:
    """What a part is given.

    Attributes:
        emit: takes each record.
        deadline: seconds since the epoch; a part begins nothing long after it.
        rehearse: whether to run on the CPU in tiny sizes.
    """

    emit: Callable[[Record], None]
    deadline: float
    rehearse: bool

    @property
    def device(self) -> str:
        """Type of the device."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def compiled(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """A function compiled by PyTorch; in a rehearsal it is only traced."""
        import torch

        if self.rehearse:
            return torch.compile(function, backend="aot_eager")
        return torch.compile(function, **options)


def need_gpu(run: Run) -> None:
    """Refuse where there is no GPU.

    Raises:
        MissingError: PyTorch finds none, and this is no rehearsal.
    """
    import torch

    if not run.rehearse and not torch.cuda.is_available():
        build = torch.version.cuda or "none"
        raise MissingError(f"PyTorch {torch.__version__} (CUDA {build}) finds no CUDA device.")


def machine(run: Run) -> None:
    """What the numbers depend on."""
    from benchmarks.harness import facts
    from pyramidflow.diagnosis import diagnose

    found = diagnose(["machine", "packages", "torch"])
    run.emit(facts.machine())
    run.emit({"diagnosis": found.as_dict()})


def build(run: Run) -> None:
    """Install the package from this tree, with its CUDA library for the GPU that is here."""
    need_gpu(run)
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None) or shutil.which("nvcc")
    if nvcc is None:
        raise MissingError("no nvcc found (PATH, CUDA_HOME).")
    if run.rehearse:
        raise MissingError("a rehearsal builds nothing.")
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "-e"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, str(ROOT)],
        env={**os.environ, "PYRAMIDFLOW_CUDA": "1", "MAX_JOBS": str(os.cpu_count())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    built = {file.name: file.stat().st_size for file in ROOT.glob("pyramidflow/ops/*.so")}
    seconds = time.perf_counter() - start
    run.emit({"exit code": done.returncode, "seconds": seconds, "library bytes": built})
    if done.returncode != 0:
        sys.exit(done.returncode)


def tests(run: Run) -> None:
    """``pytest -m gpu``, on several processes where pytest-xdist is there."""
    need_gpu(run)
    import importlib.util

    import pytest

    arguments = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    arguments += ["tests/test_machine.py"] if run.rehearse else ["-m", "gpu", "tests"]
    if not run.rehearse and importlib.util.find_spec("xdist"):
        arguments += ["-n", str(min(8, os.cpu_count() or 1)), "--dist", "worksteal"]
    outcomes = Outcomes(run.emit)
    code = int(pytest.main(arguments, plugins=[outcomes]))
    run.emit({"command": ["pytest", *arguments], "exit code": code, **outcomes.counts})


class Outcomes:
    """A plugin of pytest that tells failures as they come.

    Args:
        emit: takes each record.
    """

    EVERY = 100

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self._emit = emit
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._reasons: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a test when it has run, or when it could not be set up."""
        if report.when != "call" and report.passed:
            return
        self.counts[report.outcome] += 1
        if report.failed:
            self._emit({"failed": report.nodeid, "message": report.longreprtext[-1500:]})
        elif report.skipped:
            self._tell_reason(report)
        if sum(self.counts.values()) % self.EVERY == 0:
            self._emit({"so far": dict(self.counts)})

    def _tell_reason(self, report: Any) -> None:
        # A reason is told once: hundreds of tests may share it.
        reason = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else "unknown"
        if reason not in self._reasons:
            self._reasons.add(reason)
            self._emit({"skipped test": report.nodeid, "message": reason})


def kernels(run: Run) -> None:
    """See :mod:`benchmarks.gpu.kernels`."""
    need_gpu(run)
    from benchmarks.gpu.kernels import measure

    measure(run)


def network(name: str) -> Callable[[Run], None]:
    """A part of :mod:`benchmarks.gpu.network`."""

    def part(run: Run) -> None:
        need_gpu(run)
        from benchmarks.gpu import network as measurements

        getattr(measurements, name)(run)

    return part


PARTS: dict[str, Callable[[Run], None]] = {
    "machine": machine,
    "build": build,
    "tests": tests,
    "kernels": kernels,
    "model": network("model"),
    "runtime": network("runtime"),
    "training": network("training"),
    "latency": network("latency"),
}


def main() -> None:
    """Run one part."""
    name, file, deadline, *rest = sys.argv[1:]
    with open(file, "w", encoding="utf-8") as answers:

        def emit(record: Record) -> None:
            answers.write(json.dumps(strict(record), allow_nan=False) + "\n")
            answers.flush()

        try:
            PARTS[name](Run(emit, float(deadline), "--rehearse" in rest))
        except MissingError as error:
            emit({"missing": str(error)})


if __name__ == "__main__":
    main()
