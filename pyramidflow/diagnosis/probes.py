"""The probes: each looks at one part of the installation and says what it found.

They run in a process of their own (``main``), which tells its parent each finding as it comes.
"""

import importlib.util
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyramidflow
from pyramidflow import machine
from pyramidflow.diagnosis.devices import probe_torch
from pyramidflow.diagnosis.finding import Finding, broken_by
from pyramidflow.diagnosis.packages import probe_packages

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYRAMIDFLOW_BACKEND",
    "PYRAMIDFLOW_COSTS",
    "TRITON_INTERPRET",
)
"""Environment that changes what runs, and how."""


def probe_machine() -> Finding:
    """Python, system, processors and memory."""
    usable, present = machine.usable_processors(), os.cpu_count()
    limit, total = machine.memory_limit(), machine.total_memory()
    memory = min((value for value in (limit, total) if value is not None), default=None)
    details = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "package": str(Path(pyramidflow.__file__).parent),
        "processors": present,
        "allowed_processors": machine.allowed_processors(),
        "processor_quota": machine.processor_quota(),
        "usable_processors": usable,
        "memory_bytes": total,
        "memory_limit_bytes": limit,
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    shown = "" if memory is None else f", {memory / 2**30:.1f} GiB of memory"
    return Finding("ok", f"{usable} of {present} processors{shown}.", details)


def probe_backend(name: str) -> Finding:
    """One backend of the operations: whether it can run, and its self-test.

    Args:
        name: of the backend.
    """
    from pyramidflow.ops import dispatch
    from pyramidflow.ops.libraries import loading
    from pyramidflow.ops.selftest import selftest

    state = dispatch.status(name)
    details: dict[str, Any] = {k.replace(" ", "_"): v for k, v in state.details.items()}
    file = loading.path(name)
    if file.exists():
        details["file"] = str(file)
    if not state.available:
        return Finding("broken" if _should_work(name) else "absent", state.reason, details)
    left_out = dispatch.left_out(dispatch.load(name))
    if left_out:
        details["left_out"] = left_out
    tests = selftest(name)
    details["self_test"] = {test.operation: test.relative_error for test in tests}
    failed = [test for test in tests if not test.ok]
    if failed:
        details["failures"] = [test.reason for test in failed]
        failures = f"{len(failed)} of {len(tests)} operations fail: {failed[0].reason}"
        return Finding("broken", f"{state.reason} {failures}", details)
    worst = max(test.relative_error or 0.0 for test in tests)
    agreed = f"{len(tests)} operations agree with the oracle to {worst:.0e}."
    return Finding("ok", f"{state.reason} {agreed}{_stood_in(left_out)}", details)


def _stood_in(left_out: Mapping[str, str]) -> str:
    """What a backend leaves out and what computes it, as a sentence; empty if it has them all."""
    shown = "; ".join(f"{operation} by {instead}" for operation, instead in left_out.items())
    return f" It has no kernel of its own for {len(left_out)} of them: {shown}." if left_out else ""


def _should_work(name: str) -> bool:
    """Whether a backend that cannot run is a fault: its library is there, or a GPU for it."""
    import torch

    from pyramidflow.ops.libraries import cuda, loading

    if name == "triton":
        return torch.cuda.is_available() and importlib.util.find_spec("triton") is not None
    if not loading.path(name).exists() or name == "cpu":
        return loading.path(name).exists()
    try:
        cuda.loaded()
    except loading.LibraryError:
        return True
    return torch.cuda.is_available()  # without a GPU the library is at rest, not broken


def probe_choice() -> Finding:
    """Which backend the operations run on, by device type."""
    import warnings

    from pyramidflow import ops

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the reference is slow: the backends' findings say so
        chosen = {device: ops.active_backend(device) for device in ["cpu", *_cuda_type()]}
    shown = ", ".join(f"{backend} on {device}" for device, backend in chosen.items())
    return Finding("ok", f"{shown}.", chosen)


def _cuda_type() -> list[str]:
    import torch

    return ["cuda"] if torch.cuda.is_available() else []


def probe_costs() -> Finding:
    """What the parts of a convolution cost on this machine: what a plan is made with."""
    from pyramidflow.ops.libraries import loading
    from pyramidflow.runtime.cpu.costs import machine_costs

    try:
        found = machine_costs()
    except loading.LibraryError as error:
        return Finding("absent", str(error))
    details = asdict(found.costs) | {"file": None if found.file is None else str(found.file)}
    return Finding("ok", f"{found.origin}.", details)


def probe_inspection(device_type: str) -> Finding:
    """One inspection of a tiny network on the runtime of every device of a type.

    Args:
        device_type: ``"cpu"`` or ``"cuda"``.
    """
    import torch

    from pyramidflow.diagnosis.inspection import TOLERANCES, inspection_error

    if device_type == "cpu":
        devices = [torch.device("cpu")]
    else:
        devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    if not devices:
        return Finding("absent", "there is no CUDA device.")
    errors = {str(device): inspection_error(device) for device in devices}
    worst, tolerance = max(errors.values()), TOLERANCES[device_type]
    details = {"tolerance": tolerance, "relative_errors": errors}
    shown = f"maps of a tiny network differ from the oracle's by {worst:.0e}"
    if worst > tolerance:
        return Finding("broken", f"{shown}, more than {tolerance:.0e}.", details)
    return Finding("ok", f"{shown}.", details)


PROBES: Mapping[str, Callable[[], Finding]] = {
    "machine": probe_machine,
    "packages": probe_packages,
    "torch": probe_torch,
    "backend reference": partial(probe_backend, "reference"),
    "backend cpu": partial(probe_backend, "cpu"),
    "backend cuda": partial(probe_backend, "cuda"),
    "backend triton": partial(probe_backend, "triton"),
    "operations": probe_choice,
    "costs on cpu": probe_costs,
    "inspection on cpu": partial(probe_inspection, "cpu"),
    "inspection on cuda": partial(probe_inspection, "cuda"),
}
"""Every probe by its name, in the order in which they run."""


def run_probe(name: str) -> Finding:
    """Run one probe; an error of it is a finding.

    Args:
        name: of the probe.
    """
    try:
        return PROBES[name]()
    except Exception as error:
        return broken_by(error)


def main(names: Sequence[str]) -> None:
    """Run probes, and write each finding to standard output as a line of JSON.

    Args:
        names: of the probes.
    """
    # Libraries write to standard output, too: they get standard error instead.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)
        for name in names:
            answers.write(json.dumps(as_json(run_probe(name)), allow_nan=False) + "\n")
            answers.flush()


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding as a JSON object; numbers that are not finite become texts."""
    return {key: _finite(value) for key, value in asdict(finding).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
