"""The table of operations: schemas, gradients, choice of backend, compilation and export."""

import itertools
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.errors import InputError, SlowOperationsWarning
from pyramidflow.model import PyramidFlow
from pyramidflow.ops import CouplingMode, allocation, dispatch
from pyramidflow.ops.backend import Backend
from pyramidflow.ops.coupling.mode import SOFT_CLAMP_GAIN
from pyramidflow.ops.coupling.schema import mean_shape
from pyramidflow.ops.op import OPS as TABLE
from pyramidflow.ops.op import Op
from pyramidflow.ops.tf32 import convolutions_take_tf32, convolutions_with_tf32

OPS = torch.ops.pyramidflow

COUPLING_MODES = list(itertools.product(("cvn", "svn", "none"), ("sample", "batch")))


@pytest.fixture(autouse=True)
def _one_thread():
    # On tensors this small, threads only wait for one another.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


RESAMPLINGS = ("none", "up", "down")


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def samples(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Arguments of every operation, one set for each of its modes."""

    def tensor(*shape: int, seed: int = 0) -> Tensor:
        return random(*shape, dtype=dtype, seed=seed)

    x, coarse, weight = tensor(2, 4, 5, 6), tensor(2, 4, 3, 3, seed=1), tensor(4, 4, seed=2)
    log_det, index = tensor(2, seed=3), torch.randint(0, 4, (2, 4, 3, 3), dtype=torch.uint8)
    nothing, taps = torch.empty(0, dtype=torch.uint8), tensor(3, 4, 3, 3, seed=11)
    latents, template = [x, coarse], [tensor(1, 4, 5, 6, seed=4), tensor(1, 4, 3, 3, seed=5)]
    couplings, backwards = [], []
    for (norm, statistics), scale, given in itertools.product(
        COUPLING_MODES, (1, 2), (False, True)
    ):
        params = tensor(2, 8, 5 * scale, 6 * scale, seed=6)
        mean = tensor(*mean_shape(params, CouplingMode(norm, statistics)), seed=7)
        couplings.append((x, params, mean if given else None, norm, statistics, 2.0))
        backwards.append((x, log_det, x, params, mean, given, norm, statistics, 2.0))
    image = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    return {
        "pyramid_down": [(x, "nearest"), (x, "max")],
        "pyramid_down_backward": [
            (coarse, nothing, 5, 6, "nearest"),
            (coarse, index, 5, 6, "max"),
        ],
        "pyramid_residual": [(x, coarse)],
        "pyramid_merge": [(coarse, x)],
        "pyramid_up_backward": [(x,)],
        "affine_coupling": couplings,
        "affine_coupling_backward": backwards,
        "affine_coupling_inverse": couplings,
        "affine_coupling_inverse_backward": backwards,
        "invertible_conv1x1": [(x, weight)],
        "invertible_conv1x1_backward": [(x, x, weight)],
        "coupling_conv1x1": [(*c[:3], weight, *c[3:]) for c in couplings],
        "coupling_conv1x1_backward": [(*b[:6], weight, *b[6:]) for b in backwards],
        "conv2d": [(x, taps, resample) for resample in RESAMPLINGS],
        "conv2d_backward": [
            (tensor(2, 3, *size, seed=12), x, taps, resample, True, True)
            for resample, size in zip(RESAMPLINGS, ((5, 6), (10, 12), (3, 3)), strict=True)
        ],
        "conv_coupling_conv1x1": [
            (x, tensor(2, 6, 5, 6, seed=11), tensor(8, 6, 3, 3, seed=12), mean, weight, "none", 2.0)
            for mean in (tensor(1, 1, 5, 6, seed=13), tensor(1, 4, 1, 1, seed=14))
        ]
        + [
            (
                coarse,
                x,
                tensor(8, 4, 3, 3, seed=15),
                tensor(2, 1, 3, 3, seed=16),
                weight,
                "down",
                2.0,
            ),
        ],
        "anomaly_map": [(latents, template, None, None)],
        "anomaly_map_backward": [(tensor(2, 5, 6, seed=8), latents, template)],
        "normalize_image": [(image, tensor(3, seed=9), tensor(3, seed=10).abs() + 0.1, dtype)],
    }


def channels_last(value):
    if isinstance(value, Tensor) and value.dim() == 4 and value.dtype != torch.uint8:
        return value.contiguous(memory_format=torch.channels_last)
    if isinstance(value, list):
        return [channels_last(v) for v in value]
    return value


def differentiable(value):
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.clone().requires_grad_()
    if isinstance(value, list):
        return [differentiable(v) for v in value]
    return value


def test_samples_cover_the_table() -> None:
    assert set(samples(torch.float32)) == set(TABLE)


@pytest.mark.parametrize("op", TABLE.values(), ids=lambda op: op.name)
def test_opcheck(op: Op) -> None:
    torch.manual_seed(0)
    function = getattr(OPS, op.name).default
    for arguments in samples(torch.float32)[op.name][:4]:
        for variant in (arguments, tuple(channels_last(a) for a in arguments)):
            if op.backward is not None:
                variant = tuple(differentiable(a) for a in variant)
            torch.library.opcheck(function, variant)


def test_opcheck_of_a_tolerance() -> None:
    latents, template, *_ = samples(torch.float32)["anomaly_map"][0]
    for given in (latents, channels_last(latents)):
        torch.library.opcheck(
            OPS.anomaly_map.default,
            (given, template, None, None, 2),
            test_utils=("test_schema", "test_faketensor"),
        )


@pytest.mark.parametrize(
    "name", [op.name for op in TABLE.values() if op.backward is not None and "down" not in op.name]
)
def test_gradients_of_the_reference(name: str) -> None:
    for arguments in samples(torch.float64)[name]:
        variant = [differentiable(a) for a in arguments]
        flat = [v for a in variant for v in (a if isinstance(a, list) else [a])]
        # A given mean has no gradient by contract, and the sample's own gives none either.
        inputs = [v for v in flat if isinstance(v, Tensor)]
        if "coupling" in name and variant[2] is not None:
            variant[2].requires_grad_(False)
            inputs = [v for v in inputs if v is not variant[2]]

        def forward(*_: Tensor, variant=variant) -> list[Tensor]:
            results = getattr(OPS, name)(*variant)
            results = [results] if isinstance(results, Tensor) else results
            return [r for r in results if r.requires_grad]

        assert torch.autograd.gradcheck(forward, inputs, fast_mode=True)


@pytest.mark.parametrize("reduction", ["nearest", "max"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 4), (1, 1)])
def test_gradient_of_pyramid_down(reduction: str, size: tuple[int, int]) -> None:
    x = random(2, 3, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.pyramid_down(x, reduction), [x], fast_mode=True)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 2)])
def test_maximum_is_the_first_of_its_cell(size: tuple[int, int]) -> None:
    x = torch.zeros(1, 2, *size)
    for backend in available():
        with ops.use_backend(backend):
            _, index = OPS.pyramid_down(x, "max")
        assert torch.count_nonzero(index) == 0, backend


def available() -> list[str]:
    return [
        r.name for r in ops.backends() if r.available and not dispatch.load(r.name).refusal("cpu")
    ]


def test_second_derivatives_are_refused() -> None:
    x, weight = random(1, 2, 3, 3).requires_grad_(), random(2, 2)
    y = ops.invertible_conv1x1(x**2, weight)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(InputError, match="no derivative"):
        torch.autograd.grad(OPS.pyramid_up_backward(grad).sum(), x)


def test_results_are_never_their_arguments() -> None:
    x, params = random(2, 4, 3, 3), random(2, 8, 3, 3)
    mean = random(1, 1, 3, 3)
    _, taken, _ = OPS.affine_coupling(x, params, mean, "cvn", "sample", 2.0)
    assert taken.numel() == 0
    assert ops.affine_coupling(x, params, mean)[1].shape == (1, 1, 3, 3)


def test_operands_of_different_types_are_promoted() -> None:
    x, params = random(1, 2, 3, 3, dtype=torch.float32), random(1, 4, 3, 3, dtype=torch.float16)
    y, _, _ = ops.affine_coupling(x, params)
    expected, _, _ = dispatch.steps("reference").affine_coupling(
        x, params.float(), None, "cvn", "sample", 2.0
    )
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected)


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_keep_the_memory_format(layout: torch.memory_format) -> None:
    x = random(2, 4, 6, 8, dtype=torch.float32).contiguous(memory_format=layout)
    for backend in available():
        with ops.use_backend(backend):
            y = ops.pyramid_down(x)
            assert y.is_contiguous(memory_format=layout), backend
            assert ops.pyramid_residual(x, y).is_contiguous(memory_format=layout), backend
    assert allocation.memory_format(x) is layout


def test_sums_of_log_scales_are_log_determinants() -> None:
    x, params = random(1, 2, 2, 2), random(1, 4, 2, 2, seed=1)
    _, _, log_det = ops.affine_coupling(x, params, mode=CouplingMode("none"))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: ops.affine_coupling(x, params, mode=CouplingMode("none"))[0], x
    )
    expected = torch.linalg.slogdet(jacobian.reshape(8, 8)).logabsdet
    assert math.isclose(log_det.item(), expected.item(), rel_tol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_of_log_scales_keep_their_range(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 64, 16, 33, dtype=dtype).requires_grad_()
    params = torch.full((1, 128, 16, 33), 60000.0, dtype=dtype).requires_grad_()
    exact = 64 * 16 * 33 * 2 * SOFT_CLAMP_GAIN * math.atan(60000 / 2)
    assert exact > torch.finfo(torch.float16).max
    for name, rest in (
        ("affine_coupling", ()),
        ("affine_coupling_inverse", ()),
        ("coupling_conv1x1", (torch.eye(64, dtype=dtype),)),
    ):
        arguments = (x, params, None, *rest, "none", "sample", 2.0)
        log_det = getattr(OPS, name)(*arguments)[2]
        assert log_det.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert math.isclose(abs(log_det.item()), exact, rel_tol=torch.finfo(dtype).eps)
        (grad,) = torch.autograd.grad(log_det.sum(), params)
        assert grad.dtype == dtype
        torch.library.opcheck(getattr(OPS, name).default, arguments, test_utils="test_faketensor")


def small_model() -> PyramidFlow:
    torch.manual_seed(0)
    model = PyramidFlow(channels=4, levels=3, stacks=1, kernel_size=3)
    for parameter in model.flow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def test_model_compiles_whole() -> None:
    model = small_model()
    image = random(2, 3, 16, 16, dtype=torch.float32)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for expected, got in zip(model(image), compiled(image), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="g++ is not installed: inductor's"
)
def test_model_compiles_whole_to_machine_code() -> None:
    model = small_model()
    image = random(2, 3, 16, 16, dtype=torch.float32)
    compiled = torch.compile(model, fullgraph=True, backend="inductor")
    torch._dynamo.utils.counters.clear()
    for expected, got in zip(model(image), compiled(image), strict=True):
        torch.testing.assert_close(got, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_training_step_compiles_whole() -> None:
    model = small_model().train()
    image = random(2, 3, 16, 16, dtype=torch.float32)
    loss = sum(z.square().mean() for z in model(image))
    loss.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    sum(z.square().mean() for z in compiled(image)).backward()
    got = [p.grad for p in model.parameters() if p.grad is not None]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_model_exports() -> None:
    model = small_model()
    image = random(2, 3, 16, 16, dtype=torch.float32)
    with torch.no_grad():
        exported = torch.export.export(model, (image,))
        for expected, got in zip(model(image), exported.module()(image), strict=True):
            torch.testing.assert_close(got, expected)
    names = {str(node.target) for node in exported.graph.nodes}
    assert "pyramidflow.coupling_conv1x1.default" in names


def test_conv_coupling_conv1x1_is_the_block_that_it_fuses() -> None:
    x, hidden = random(2, 3, 4, 5), random(2, 6, 8, 10, seed=1)
    kernel, weight = random(6, 6, 7, 7, seed=2) / 9, random(3, 3, seed=3)
    mean = random(1, 1, 8, 10, seed=4)
    params = torch.nn.functional.conv2d(hidden, kernel, padding=3)
    expected, _, _ = ops.coupling_conv1x1(x, params, weight, mean)  # resized, nearest neighbour
    z = ops.conv_coupling_conv1x1(x, hidden, kernel, weight, mean[..., ::2, ::2], resample="down")
    torch.testing.assert_close(z, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": (6, 5, 7, 7)}, "kernel has shape"),
        ({"kernel": (6, 6, 4, 4)}, "kernel has shape"),
        ({"hidden": (2, 6, 9, 10)}, "give levels of fitting sizes"),
        ({"mean": (1, 1, 8, 10)}, "does not broadcast"),
        ({"weight": (4, 4)}, "weight has shape"),
    ],
)
def test_conv_coupling_conv1x1_refuses_other_shapes(changed: dict, message: str) -> None:
    shapes = {"x": (2, 3, 4, 5), "hidden": (2, 6, 8, 10), "kernel": (6, 6, 7, 7)}
    shapes |= {"weight": (3, 3), "mean": (1, 1, 4, 5)} | changed
    with pytest.raises(InputError, match=message):
        ops.conv_coupling_conv1x1(**{k: torch.zeros(v) for k, v in shapes.items()}, resample="down")


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


def test_a_negative_view_in_an_optional_list_is_read_as_it_is() -> None:
    z, mean, shift = random(1, 2, 4, 4), random(1, 2, 4, 4, seed=1), random(1, 2, 1, 1, seed=2)
    for backend in available():
        with ops.use_backend(backend):
            expected = ops.anomaly_map([z.float()], [mean.float()], None, [-shift.float()])
            negated = torch._neg_view(shift.float())
            got = ops.anomaly_map([z.float()], [mean.float()], None, [negated])
        torch.testing.assert_close(got, expected, msg=backend)
