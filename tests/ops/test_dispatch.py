"""Which backend runs, what is said where none can, and how float32 is rounded."""

import subprocess
import sys

import pytest
import torch

from pyramidflow import ops
from pyramidflow.errors import InputError, SlowOperationsWarning
from pyramidflow.ops import CouplingMode, dispatch
from pyramidflow.ops.backend import Backend
from pyramidflow.ops.tf32 import convolutions_take_tf32, convolutions_with_tf32
from tests.support.backends import require_backend
from tests.support.operands import random


def test_default_backend_by_device_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.ENVIRONMENT_VARIABLE, raising=False)
    expected = "cpu" if dispatch.status("cpu").available else "reference"
    assert dispatch.select("cpu", torch.float32) is dispatch.load(expected)
    assert dispatch.select("cpu", torch.float64) is dispatch.load("reference")


def test_environment_and_context_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "reference")
    assert dispatch.select("cpu", torch.float32) is dispatch.load("reference")
    monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, "no such")
    with pytest.raises(InputError, match="PYRAMIDFLOW_BACKEND is 'no such': choose"):
        ops.pyramid_down(random(1, 1, 2, 2))
    with ops.use_backend("reference"):
        ops.pyramid_down(random(1, 1, 2, 2))


def test_unavailable_backend_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "status", lambda name: dispatch.Status(False, "no such GPU."))
    with pytest.raises(InputError, match=r"'cuda' is not available: no such GPU\."):
        dispatch.require("cuda")


def test_operations_without_a_fast_backend_warn_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "status", lambda name: dispatch.Status(False, "it is too old."))
    with pytest.warns(SlowOperationsWarning, match=r"on 'cpu' run in plain.*cpu: it is too old\."):
        module = dispatch._select.__wrapped__(None, "cpu", torch.float32)
    assert module is dispatch.load("reference")


def test_backend_of_another_device_is_refused() -> None:
    class Elsewhere(Backend):
        name, devices, dtypes = "elsewhere", frozenset({"moon"}), frozenset({torch.float32})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "require", lambda name: Elsewhere())
        with pytest.raises(InputError, match="does not take tensors on 'cpu': move them to moon"):
            dispatch._select.__wrapped__("elsewhere", "cpu", torch.float32)


def test_records_name_every_backend() -> None:
    records = ops.backends()
    assert [r.name for r in records] == ["reference", "cpu", "cuda", "triton"]
    assert all(r.reason.strip().endswith(".") for r in records)


def test_import_does_without_the_compiled_libraries() -> None:
    script = (
        "from pyramidflow.ops.libraries import loading\n"
        "from pathlib import Path\n"
        "loading.FOLDER = Path('/nowhere')\n"
        "import torch\n"
        "from pyramidflow import ops\n"
        "record = {r.name: r for r in ops.backends()}['cpu']\n"
        "assert not record.available and 'PYRAMIDFLOW_CPU=1' in record.reason, record\n"
        "assert ops.pyramid_down(torch.ones(1, 1, 4, 4)).shape == (1, 1, 2, 2)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_tf32_is_known_where_operators_are_set_apart() -> None:
    program = """
import torch
from pyramidflow.ops.tf32 import convolutions_take_tf32, convolutions_with_tf32
torch.backends.cudnn.conv.fp32_precision = "ieee"
print(convolutions_take_tf32())
with convolutions_with_tf32(True):
    print(convolutions_take_tf32())
print(torch.backends.cudnn.conv.fp32_precision)
"""
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this PyTorch has one setting for all operators of cuDNN")
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["False", "True", "ieee"], run.stderr


@pytest.mark.parametrize("rounded", [True, False])
def test_tf32_follows_the_setting_of_all_operators(rounded: bool) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=rounded):
        assert convolutions_take_tf32() == rounded
        with convolutions_with_tf32(not rounded):
            assert convolutions_take_tf32() != rounded
        assert convolutions_take_tf32() == rounded


@pytest.fixture
def _leaving_out(monkeypatch: pytest.MonkeyPatch):
    """The CPU backend without the up-sampling, and without what fuses coupling and 1×1."""
    require_backend("cpu")
    found = dispatch._function

    def function(backend: str, operation: dispatch.Operation):
        missing = {"pyramid_merge", "coupling_conv1x1"}
        if backend == "cpu" and operation.name in missing:
            return None
        return found(backend, operation)

    monkeypatch.setattr(dispatch, "_function", function)
    for cached in (dispatch._implementation, dispatch.steps):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (dispatch._implementation, dispatch.steps):
        cached.cache_clear()


@pytest.mark.usefixtures("_leaving_out")
def test_what_a_backend_leaves_out_is_computed_all_the_same() -> None:
    assert dispatch.left_out(dispatch.load("cpu")) == {
        "coupling_conv1x1": "its composite",
        "conv_coupling_conv1x1": "its composite",
        "pyramid_merge": "the reference",
    }
    x, params, weight = random(1, 3, 4, 4), random(1, 6, 4, 4, seed=1), random(3, 3, seed=2)
    coarse = random(1, 3, 2, 2, seed=3)
    for backend in ("cpu", "reference"):
        with ops.use_backend(backend):
            z, _, log_det = ops.coupling_conv1x1(x.float(), params.float(), weight.float())
            merged = ops.pyramid_merge(coarse.float(), x.float())
        expected = dispatch.steps("reference").coupling_conv1x1(
            x, params, None, weight, *CouplingMode()
        )
        torch.testing.assert_close(z.double(), expected[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(log_det.double(), expected[2], rtol=1e-5, atol=1e-4)
        exact = dispatch.steps("reference").pyramid_merge(coarse, x)
        torch.testing.assert_close(merged.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_backend_that_lends_comes_before_the_composite(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    cuda = dispatch.load("cuda")
    choose = dispatch._implementation.__wrapped__
    assert choose(cuda.name, "conv_coupling_conv1x1")[1] == "its composite"
    monkeypatch.setattr(dispatch, "status", lambda name: dispatch.Status(name == "triton", "here."))
    assert choose(cuda.name, "conv_coupling_conv1x1")[1] == "the backend triton"
    assert choose(cuda.name, "conv2d")[1] == "its composite"
