"""What the backends say of themselves: whether they run here, and whether they compute right."""

from types import SimpleNamespace

import pytest
import torch

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import dispatch, selftest
from pyramidflow.ops.backend.cuda import BACKEND as CUDA
from pyramidflow.ops.libraries import cuda, loading, targets
from pyramidflow.ops.op import OPS
from tests.support import cuda_host
from tests.support.backends import require_backend

BUILT_FOR = "75_80_90a_100f_120PTX"

# Capabilities and what runs on them: "Binary Compatibility" and "PTX Compatibility" in the CUDA C++
# programming guide, and its architecture-specific and family-specific targets.
HAVE_CODE = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1), (13, 0)]
HAVE_NONE = [(5, 2), (6, 1), (7, 0), (7, 2), (9, 1), (11, 0)]


@pytest.mark.parametrize("capability", HAVE_CODE, ids=str)
def test_gpu_that_a_build_has_code_for(capability) -> None:
    assert targets.reason_against("GPU", capability, BUILT_FOR) == ""


@pytest.mark.parametrize("capability", HAVE_NONE, ids=str)
def test_gpu_that_a_build_has_no_code_for(capability) -> None:
    reason = targets.reason_against("GPU", capability, BUILT_FOR)
    major, minor = capability
    assert f"no code for GPU (compute capability {major}.{minor}, built for 7.5, 8.0" in reason
    assert reason.endswith(f"PYRAMIDFLOW_CUDA_ARCHITECTURES={major}{minor}.")


@pytest.mark.parametrize(
    ("driver", "runtime", "runs"),
    [
        *((13000, 13000, True), (13010, 13000, True), (12020, 12080, True)),
        *((12080, 13000, False), (0, 12000, False)),
    ],
)
def test_driver_of_a_build(driver: int, runtime: int, runs: bool) -> None:
    reason = targets.reason_against_driver(driver, runtime)
    assert (reason == "") == runs
    assert runs or f"with {runtime // 1000}.0" in reason


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of compute capability 7.0, and a library that was built for others."""
    state = SimpleNamespace(capability=(7, 0), architectures="80_90PTX", driver=13000)
    monkeypatch.setattr(cuda, "loaded", lambda: object())
    monkeypatch.setattr(cuda, "check", lambda: None)
    monkeypatch.setattr(cuda, "runtime_version", lambda: 13000)
    monkeypatch.setattr(cuda, "driver_version", lambda: state.driver)
    monkeypatch.setattr(cuda, "compiler", lambda: "nvcc 13.0")
    monkeypatch.setattr(cuda, "architectures", lambda: state.architectures)
    monkeypatch.setattr(loading, "source_digest", lambda *_: "0123456789abcdef")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: state.capability)
    return state


def test_status_of_cuda_on_a_gpu_without_code(gpu) -> None:
    state = CUDA.status()
    assert not state.available
    assert "no code for Tesla V100 (compute capability 7.0, built for 8.0, 9.0+PTX)" in state.reason
    assert state.details["architectures"] == "8.0, 9.0+PTX"
    assert state.details["sources"] == "0123456789abcdef"


def test_status_of_cuda_on_other_gpus_and_drivers(gpu) -> None:
    gpu.capability = (12, 0)
    assert CUDA.status().available
    gpu.driver = 12040
    state = CUDA.status()
    assert not state.available
    assert "driver knows CUDA 12.4" in state.reason


@pytest.mark.parametrize("error", [OSError("no libcuda\nat all."), AssertionError(), KeyError("x")])
def test_triton_without_a_driver_is_not_available(error, monkeypatch) -> None:
    triton = pytest.importorskip("triton", reason="triton is not installed")
    from pyramidflow.kernels.tuning import INTERPRETED
    from pyramidflow.ops.backend.triton import BACKEND

    if INTERPRETED:
        pytest.skip("the interpreter needs no driver")

    class Driver:
        @property
        def active(self):
            raise error

    monkeypatch.setattr(triton.runtime, "driver", Driver())
    state = BACKEND.status()
    assert not state.available
    assert "\n" not in state.reason
    assert state.reason.endswith("run on a GPU with its driver.")


def test_a_backend_that_breaks_is_a_reason(monkeypatch) -> None:
    def broken():
        raise ValueError("driver and library\ndo not fit.")

    monkeypatch.setattr(dispatch.load("cuda"), "status", broken)
    state = dispatch.status.__wrapped__("cuda")
    expected = "it cannot say what it runs on: driver and library do not fit."
    assert (state.available, state.reason) == (False, expected)

    def absent(name):
        raise OSError("libcuda.so.1: cannot open")

    monkeypatch.setattr(dispatch, "load", absent)
    assert "does not load: libcuda.so.1" in dispatch.status.__wrapped__("cuda").reason


@pytest.mark.parametrize("name", ["cudnn", "", ["cpu"], None])
def test_an_unknown_backend_is_refused(name) -> None:
    with pytest.raises(InputError, match=r"the backend is .*: choose one of reference, cpu"):
        ops.use_backend(name).__enter__()


def assert_all_ok(results: list[selftest.SelfTest]) -> None:
    assert [r.operation for r in results] == list(OPS)
    assert [r.reason for r in results if not r.ok] == []
    assert all(r.relative_error is not None and r.relative_error <= r.tolerance for r in results)


def test_selftest_of_the_reference() -> None:
    assert_all_ok(selftest.selftest("reference"))


def test_selftest_of_the_compiled_library(level) -> None:
    assert_all_ok(selftest.selftest("cpu"))


def test_selftest_of_cuda_on_the_host() -> None:
    with cuda_host.backend(cuda_host.library_or_skip()):
        assert_all_ok(selftest.selftest("cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_selftest_on_a_gpu(backend: str) -> None:
    if not dispatch.status(backend).available:
        pytest.skip(dispatch.status(backend).reason)
    assert_all_ok(selftest.selftest(backend))


def raising(*arguments):
    raise RuntimeError("no kernel image\nis available")


def wrong(factor: float):
    def pyramid_down(x, reduction):
        y, index = dispatch.steps("reference").pyramid_down(x, reduction)
        return factor * y, index

    return pyramid_down


FAULTS = {
    "off": (wrong(1.001), "pyramid_down is off by 1.0e-03, more than 1e-05."),
    "not finite": (wrong(torch.nan), "numbers that are not finite"),
    "another shape": (lambda x, _: (x, x), "or of another shape"),
    "raises": (raising, "pyramid_down did not run (RuntimeError): no kernel image"),
}


@pytest.mark.parametrize(("function", "words"), FAULTS.values(), ids=FAULTS)
def test_selftest_finds_a_fault(function, words, monkeypatch) -> None:
    require_backend("cpu")
    right = dispatch.implementation

    def implementation(backend, operation):
        faulty = (backend.name, operation) == ("cpu", "pyramid_down")
        return function if faulty else right(backend, operation)

    monkeypatch.setattr(dispatch, "implementation", implementation)
    (failed,) = [r for r in selftest.selftest("cpu") if not r.ok]
    assert failed.operation == "pyramid_down"
    assert words in failed.reason
    assert "\n" not in failed.reason


def test_selftest_of_a_backend_that_cannot_run() -> None:
    results = selftest.selftest("no such")
    assert [r.operation for r in results] == list(OPS)
    assert not any(r.ok for r in results)
    assert all("the backend is 'no such'" in r.reason for r in results)
