"""What PyTorch knows of the operations: schemas, fake functions, gradients."""

import itertools

import pytest
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import CouplingMode, allocation
from pyramidflow.ops.coupling.schema import mean_shape
from pyramidflow.ops.op import OPS as TABLE
from pyramidflow.ops.op import Op
from tests.support.operands import available, random

OPS = torch.ops.pyramidflow


COUPLING_MODES = list(itertools.product(("cvn", "svn", "none"), ("sample", "batch")))


RESAMPLINGS = ("none", "up", "down")


def samples(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Arguments of every operation, one set for each of its modes."""

    def tensor(*shape: int, seed: int = 0) -> Tensor:
        return random(*shape, dtype=dtype, seed=seed)

    x, coarse, weight = tensor(2, 4, 5, 6), tensor(2, 4, 3, 3, seed=1), tensor(4, 4, seed=2)
    log_det, index = tensor(2, seed=3), torch.randint(0, 4, (2, 4, 3, 3), dtype=torch.uint8)
    nothing, taps = torch.empty(0, dtype=torch.uint8), tensor(3, 4, 3, 3, seed=11)
    pixel_mean = tensor(2, 1, 3, 3, seed=16)
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
        "coupling_conv1x1_backward": [(*b[:2], weight, *b[2:]) for b in backwards],
        "conv2d": [(x, taps, resample) for resample in RESAMPLINGS],
        "conv2d_backward": [
            (tensor(2, 3, *size, seed=12), x, taps, resample, True, True)
            for resample, size in zip(RESAMPLINGS, ((5, 6), (10, 12), (3, 3)), strict=True)
        ],
        "conv_coupling_conv1x1": [
            (x, tensor(2, 6, 5, 6, seed=11), tensor(8, 6, 3, 3, seed=12), mean, weight, "none", 2.0)
            for mean in (tensor(1, 1, 5, 6, seed=13), tensor(1, 4, 1, 1, seed=14))
        ]
        + [(coarse, x, tensor(8, 4, 3, 3, seed=15), pixel_mean, weight, "down", 2.0)],
        "anomaly_map": [(latents, template, None, None)],
        "anomaly_map_backward": [(tensor(2, 5, 6, seed=8), latents, template)],
        "nearest_distance": [(tensor(9, 5, seed=17), tensor(7, 5, seed=18))],
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


def test_second_derivatives_are_refused() -> None:
    x, weight = random(1, 2, 3, 3).requires_grad_(), random(2, 2)
    y = ops.invertible_conv1x1(x**2, weight)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(InputError, match="no derivative"):
        torch.autograd.grad(OPS.pyramid_up_backward(grad).sum(), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_results_keep_the_memory_format(layout: torch.memory_format) -> None:
    x = random(2, 4, 6, 8, dtype=torch.float32).contiguous(memory_format=layout)
    for backend in available():
        with ops.use_backend(backend):
            y = ops.pyramid_down(x)
            assert y.is_contiguous(memory_format=layout), backend
            assert ops.pyramid_residual(x, y).is_contiguous(memory_format=layout), backend
    assert allocation.memory_format(x) is layout
