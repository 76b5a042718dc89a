"""Every operation on a GPU in each backend: its error, and its time beside a copy's.

The cases are those of ``benchmarks.operations``. An operation that moves memory cannot be faster
than a copy of as many bytes on the device: the share of a copy is the copy's time over the
operation's. Convolutions do not round to TF32 here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.parts import Record, Run
from benchmarks.gpu.timing import difference, milliseconds
from benchmarks.operations import cases as ops
from pyramidflow.ops import dispatch
from pyramidflow.ops.tf32 import convolutions_with_tf32

SECONDS = 0.1
"""For each candidate and case, apart from compiling."""

IN_HALF = {
    "pyramid_down",
    "pyramid_residual",
    "pyramid_merge",
    "affine_coupling, evaluation",
    "coupling_conv1x1, evaluation",
    "conv2d",
    "conv_coupling_conv1x1",
    "conv_coupling_conv1x1, down block",
    "anomaly_map",
    "normalize_image",
}
"""What an inspection in half precision runs."""


def measure(run: Run) -> None:
    """Measure all cases, the most useful ones first: the runtime's layout, then the other one.

    What PyTorch compiles comes last, as it takes longest.

    Args:
        run: of the part.
    """
    backends = [*_available(run), "reference"]
    with convolutions_with_tf32(False):
        inspected = _cases(run, "channels-last")
        for case in inspected:
            _measure(run, case, "channels-last", backends)
        for case in inspected:
            if case.name in IN_HALF:
                in_half = ["reference"] if run.rehearse else backends
                _measure(run, _in_half(case), "channels-last", in_half)
        for case in _cases(run, "contiguous"):
            _measure(run, case, "contiguous", backends)
        for case in inspected[: 1 if run.rehearse else None]:
            torch._dynamo.reset()
            _measure(run, case, "channels-last", ["compiled"])


def _available(run: Run) -> list[str]:
    names = ["cpu"] if run.rehearse else ["cuda", "triton"]
    found = []
    for name in names:
        state = dispatch.status(name)
        if state.available:
            found.append(name)
        else:
            run.emit({"candidate": name, "missing": state.reason})
    return found


def _cases(run: Run, layout: str) -> list[ops.Case]:
    torch.manual_seed(0)
    channels, size = (4, 16) if run.rehearse else (16, 1024)
    return [
        dataclasses.replace(case, arguments=ops.moved(case.arguments, run.device))
        for case in ops.cases(channels, size, ops.LAYOUTS[layout])
    ]


def _in(dtype: torch.dtype, value: Any) -> Any:
    """Arguments with every floating type changed to one."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, torch.dtype):
        return dtype
    return type(value)(_in(dtype, v) for v in value) if isinstance(value, list | tuple) else value


def _in_half(case: ops.Case) -> ops.Case:
    arguments = _in(torch.float16, case.arguments)
    if case.op == "normalize_image":  # its mean and deviation stay in float32
        arguments = (*case.arguments[:3], torch.float16)
    return dataclasses.replace(case, arguments=arguments)


def _measure(run: Run, case: ops.Case, layout: str, candidates: Sequence[str]) -> None:
    """Tell a record for each candidate; what goes wrong is one, too."""
    exact = _call("reference", case.op, _in(torch.float64, case.arguments))
    least = ops.least_bytes(case, _call("reference", case.op, case.arguments))
    copied = _copy_time(run, least)
    plain = _call("reference", case.op, case.arguments)
    dtype = next(x.dtype for x in plain if x.is_floating_point())
    least = ops.least_bytes(case, plain)
    copied = _copy_time(run, least)
    for name in candidates:
        record: Record = {
            "case": case.name,
            "layout": layout,
            "dtype": str(dtype).removeprefix("torch."),
            "candidate": name,
            "bound": case.bound,
            "least bytes": least,
        }
        if run.left < 0:
            return
        try:
            function = _function(run, case, name)
            record["relative error"] = _error(ops.flat(function()), exact)
            record |= milliseconds(function, run.device, SECONDS)
            record["gigabytes per second"] = least / record["milliseconds"] / 1e6
            record["share of copy"] = copied / record["milliseconds"]
        except Exception as error:
            record["error"] = f"{type(error).__name__}: {error}"[:500]
        run.emit(record)


def _function(run: Run, case: ops.Case, name: str) -> Callable[[], object]:
    if name == "compiled":
        plain = getattr(dispatch.steps("reference"), case.op)
        return partial(run.compiled(plain), *case.arguments)
    return ops.candidate(case, name)


def _call(backend: str, op: str, arguments: Any) -> list[torch.Tensor]:
    return ops.flat(getattr(dispatch.steps(backend), op)(*arguments))


def _error(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> float:
    """The largest relative error of the results; whole numbers, where a maximum was, do not count.

    In a tie between rounded values the oracle in float64 may find another maximum. A
    log-determinant counts beside its terms, of size 1: in training they cancel.
    """
    errors = [
        difference(ours, theirs, least=exact[0].numel() if theirs.dim() == 1 else 0)
        for ours, theirs in zip(found, exact, strict=True)
        if theirs.is_floating_point() and theirs.numel()
    ]
    return max(errors)


def _copy_time(run: Run, least: int) -> float:
    """Milliseconds of a copy that moves as many bytes, half of them read, half written."""
    source = torch.empty(max(1, least // 2), dtype=torch.uint8, device=run.device).fill_(1)
    target = torch.empty_like(source)
    time: float = milliseconds(partial(target.copy_, source), run.device, SECONDS)["milliseconds"]
    return time
