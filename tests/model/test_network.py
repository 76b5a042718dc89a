"""The network: every block's contract, the whole path, encoders, released names."""

import pytest
import torch
from torch import nn

from pyramidflow import PyramidFlow
from pyramidflow.errors import InputError
from pyramidflow.model import (
    Architecture,
    ComposedContrast,
    Contrast,
    Flow,
    InvertibleConv1x1,
    InvertiblePyramid,
    VolumeNorm2d,
    topology,
)
from pyramidflow.model.coupling import CouplingBlock
from pyramidflow.model.encoders import encoder_of
from pyramidflow.model.encoders.lift.network import Lift
from pyramidflow.model.released import convert_released

BLOCKS = {
    "dual": topology.dual(0),
    "up": topology.up(),
    "down": topology.down(1),
}
SHAPES = [(4, 4), (2, 2), (1, 1)]


def randomized(module):
    """Give every parameter a value that matters (the last convolutions start at zero)."""
    generator = torch.Generator().manual_seed(3)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator).double()
    return module


def random_pyramid(batch, channels=3, shapes=SHAPES):
    generator = torch.Generator().manual_seed(4)
    return tuple(torch.randn(batch, channels, *s, generator=generator).double() for s in shapes)


def settle(module, pyramid):
    """Let the running means see something."""
    module.train()
    with torch.no_grad():
        module(pyramid)
        module(tuple(2 * x for x in pyramid))


def jacobian_log_det(module, pyramid):
    sizes = [x.numel() for x in pyramid]

    def flat(vector):
        levels = tuple(v.view_as(x) for v, x in zip(vector.split(sizes), pyramid, strict=True))
        return torch.cat([z.flatten() for z in module(levels)])

    start = torch.cat([x.flatten() for x in pyramid])
    return torch.linalg.slogdet(torch.autograd.functional.jacobian(flat, start))[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["cvn", "svn", "none"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_block_contract(kind, norm, training):
    block = randomized(CouplingBlock(BLOCKS[kind], 3, 3, norm))
    pyramid = random_pyramid(2)
    settle(block, pyramid)
    block.train(training)
    z, log_det = block.forward_with_log_det(pyramid)
    assert all(map(torch.equal, block(pyramid), z))
    changed = [not torch.equal(a, b) for a, b in zip(z, pyramid, strict=True)]
    assert changed == [d == block.topology.writes for d in range(3)]
    x, inverse_log_det = block.inverse_with_log_det(z)
    assert all(map(torch.equal, block.inverse(z), x))
    for a, b in zip(x, pyramid, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # A⁻¹ is exact to float64 only
    torch.testing.assert_close(inverse_log_det, -log_det)
    single = random_pyramid(1)
    settle(block, single)
    block.train(training)
    expected = jacobian_log_det(block, single)
    torch.testing.assert_close(
        block.forward_with_log_det(single)[1][0], expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("kind", BLOCKS)
def test_volume_is_preserved_in_training_where_the_mean_covers_what_is_transformed(kind):
    block = randomized(CouplingBlock(BLOCKS[kind], 3, 3, "cvn")).train()
    _, log_det = block.forward_with_log_det(random_pyramid(2))
    torch.testing.assert_close(log_det, torch.zeros(2).double(), atol=1e-10, rtol=0)


@pytest.mark.parametrize("volume_norm", [True, False])
def test_conv1x1_contract(volume_norm):
    conv = randomized(InvertibleConv1x1(5, volume_norm))
    y = torch.randn(2, 5, 3, 4).double()
    torch.testing.assert_close(conv.inverse(conv(y)), y)
    log_det = 12 * torch.linalg.slogdet(conv.weight())[1]
    torch.testing.assert_close(conv.log_det(y), log_det, atol=1e-9, rtol=1e-9)
    assert (abs(float(log_det.detach())) < 1e-9) == volume_norm


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("volume_norm", [True, False])
def test_log_determinants_of_half_types_are_float32(dtype, volume_norm):
    conv = InvertibleConv1x1(5, volume_norm).to(dtype)
    with torch.no_grad():
        conv.log_diagonal.copy_(torch.linspace(0.5, 1.5, 5))
    y = torch.zeros(1, 5, 200, 300, dtype=dtype)
    found = conv.log_det(y)
    expected = 60_000 * conv.log_diagonal.double().sum()
    if volume_norm:
        expected = torch.zeros((), dtype=torch.float64)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0.1)
    lift = Lift(5).to(dtype)
    lift.weight.mul_(4)
    found = lift.log_det(torch.zeros(1, 3, 200, 300, dtype=dtype))
    expected = 60_000 * torch.linalg.svdvals(lift.weight.double()).log().sum()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_conv1x1_starts_orthogonal():
    weight = InvertibleConv1x1(8).weight()
    torch.testing.assert_close(weight @ weight.T, torch.eye(8), atol=1e-5, rtol=0)


def test_fresh_coupling_only_mixes_channels():
    block = CouplingBlock(topology.dual(0), 3, 3, "cvn").train()
    pyramid = tuple(x.float() for x in random_pyramid(1))
    z = block(pyramid)
    torch.testing.assert_close(z[1], block.conv1x1(pyramid[1]))


@pytest.mark.parametrize(("kind", "shape"), [("cvn", (2, 1, 4, 4)), ("svn", (2, 3, 1, 1))])
def test_running_mean_moves_by_momentum_and_carries_no_graph(kind, shape):
    norm = VolumeNorm2d(kind).train()
    mean = torch.randn(shape, requires_grad=True)
    norm.update(mean)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean.detach().mean(0, keepdim=True))
    norm.update(mean)
    torch.testing.assert_close(norm.running_mean, 0.19 * mean.detach().mean(0, keepdim=True))
    assert not norm.running_mean.requires_grad
    assert norm.mean() is None
    assert norm.eval().mean() is norm.running_mean


def test_inverse_leaves_running_means_alone():
    flow = randomized(Flow(3, 1, 3, 3, "cvn", "sample")).train()
    latents = flow(random_pyramid(2))
    before = {k: v.clone() for k, v in flow.state_dict().items()}
    flow.inverse(latents)
    assert all(torch.equal(before[k], v) for k, v in flow.state_dict().items())


@pytest.mark.parametrize("reduction", ["nearest", "max"])
@pytest.mark.parametrize("size", [(16, 16), (13, 9), (1, 1)])
def test_pyramid_composes_back_exactly_and_pads(size, reduction):
    pyramid = InvertiblePyramid(4, reduction)
    x = torch.randn(2, 3, *size).double()
    levels = pyramid.decompose(x)
    height, width = pyramid.padded_size(size)
    assert [z.shape[-2:] for z in levels] == [(height >> d, width >> d) for d in range(4)]
    composed = pyramid.compose(levels)
    torch.testing.assert_close(composed[..., : size[0], : size[1]], x)
    corner = x[..., -1:, -1:]
    assert torch.allclose(composed[..., size[0] :, size[1] :], corner)


@pytest.mark.parametrize("norm", ["cvn", "svn", "none"])
@pytest.mark.parametrize("levels", [2, 3, 5])
def test_network_inverts_and_sums_log_determinants(levels, norm):
    model = randomized(
        PyramidFlow(channels=3, levels=levels, stacks=2, kernel_size=3, volume_norm=norm)
    )
    image = torch.randn(1, 3, 16, 16).double()
    model.train()
    model(image)
    model.eval()
    latents, log_det = model.forward_with_log_det(image)
    features = model.inverse(latents, (16, 16))
    torch.testing.assert_close(features, model.features(image), rtol=1e-5, atol=1e-5)
    _, inverse_log_det = model.flow.inverse_with_log_det(latents)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-4, rtol=1e-6)


def test_latents_are_a_tuple_finest_first_and_odd_sizes_are_cropped():
    model = PyramidFlow(channels=4, levels=3, stacks=1, kernel_size=3)
    latents = model(torch.randn(1, 3, 10, 7))
    assert isinstance(latents, tuple)
    assert [z.shape for z in latents] == [(1, 4, 12, 8), (1, 4, 6, 4), (1, 4, 3, 2)]
    contrast = Contrast([torch.zeros_like(z) for z in latents])
    assert model.anomaly_map(torch.randn(2, 3, 10, 7), contrast).shape == (2, 10, 7)


def test_contrast_without_pyramid_difference_composes_first():
    z, mean = (
        random_pyramid(2, shapes=[(8, 8), (4, 4), (2, 2)]),
        random_pyramid(1, shapes=[(8, 8), (4, 4), (2, 2)]),
    )
    mean = tuple(0.5 * m.flip(1) for m in mean)
    composed_first = ComposedContrast(mean).map_of(z)
    expected = (InvertiblePyramid.compose(z) - InvertiblePyramid.compose(mean)).abs().mean(1)
    torch.testing.assert_close(composed_first, expected)
    by_level = Contrast(mean).map_of(z)
    expected = InvertiblePyramid.compose(
        [(a - b).abs() for a, b in zip(z, mean, strict=True)]
    ).mean(1)
    torch.testing.assert_close(by_level, expected)


def test_image_template_of_one_image_is_that_image():
    model = randomized(PyramidFlow(channels=6, levels=3, stacks=1, kernel_size=3))
    image = torch.randn(1, 3, 12, 12).double()
    model.train()
    model(image)
    model.eval()
    picture = model.image_template(model(image), (12, 12))
    torch.testing.assert_close(picture, image, rtol=1e-5, atol=1e-5)


def test_lift_is_semi_orthogonal():
    lift = Lift(7)
    torch.testing.assert_close(lift.weight.T @ lift.weight, torch.eye(3), atol=1e-6, rtol=0)
    image = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(lift.inverse(lift(image)), image, atol=1e-5, rtol=1e-5)
    lift.weight.mul_(2)
    assert float(lift.log_det(image)) == pytest.approx(16 * 3 * 0.6931472, rel=1e-5)


def test_custom_encoder_is_frozen_and_its_channels_are_checked():
    module = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5))
    model = PyramidFlow(encoder=module, channels=5, levels=2, stacks=1, kernel_size=3).train()
    assert [z.shape[1:] for z in model(torch.randn(2, 3, 16, 16))] == [(5, 8, 8), (5, 4, 4)]
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    with pytest.raises(InputError, match="announced by channels"):
        PyramidFlow(encoder=module, channels=6, levels=2, stacks=1)(torch.randn(1, 3, 16, 16))
    with pytest.raises(InputError, match="has no inverse"):
        model.image_template(model(torch.randn(1, 3, 16, 16)))


def test_state_dict_round_trip_with_grown_running_means():
    model = PyramidFlow(channels=3, levels=2, stacks=1, kernel_size=3)
    model.train()(torch.randn(2, 3, 8, 8))
    other = PyramidFlow.from_architecture(model.architecture)
    other.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 8, 8)
    for a, b in zip(model.eval()(image), other.eval()(image), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="training's image size"):
        model(torch.randn(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": 2}, "channels is 2"),
        ({"levels": 1}, "levels is 1"),
        ({"stacks": 0}, "stacks is 0"),
        ({"kernel_size": 4}, "odd"),
        ({"volume_norm": "bn"}, "cvn, svn, none"),
        ({"encoder": "vgg"}, "resnet18"),
        ({"encoder": "resnet18", "channels": 16}, "64"),
    ],
)
def test_impossible_architectures_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        PyramidFlow(**arguments)


@pytest.mark.parametrize(
    "image", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte()]
)
def test_wrong_images_are_refused(image):
    with pytest.raises(InputError, match="normalize_image"):
        PyramidFlow(channels=3, levels=2, stacks=1)(image)


def released_shapes(channels, levels, stacks, svn=False):
    """A state dictionary in the released code's names, with zeros of the right shapes."""
    state = {"inconv.weight": torch.zeros(channels, 3, 1, 1)}
    for i, block in enumerate(topology.blocks(levels, stacks)):
        width = len(block.reads)
        prefix = f"nf.moduleslst.{i}."
        state[prefix + "affineParams.conv.0.weight"] = torch.zeros(
            2 * channels, width * channels, 3, 3
        )
        state[prefix + "affineParams.conv.2.weight"] = torch.zeros(2 * channels, 2 * channels, 3, 3)
        mean = (1, channels, 1, 1) if svn else (1, 1, 8, 8)
        state[prefix + "affineParams.norm.running_mean"] = torch.zeros(mean)
        for name in ("w_l", "w_u", "w_p", "u_mask", "l_mask", "l_eye"):
            state[f"{prefix}conv1x1.{name}"] = torch.eye(channels)
        for name in ("w_s", "s_sign"):
            state[f"{prefix}conv1x1.{name}"] = torch.ones(channels)
    return state


@pytest.mark.parametrize("svn", [True, False])
def test_every_released_configuration_is_inferred(svn):
    for levels in range(2, 10):
        for stacks in range(1, 9):
            architecture, _ = convert_released(released_shapes(4, levels, stacks, svn))
            assert (architecture.levels, architecture.stacks) == (levels, stacks)
            assert architecture == Architecture(
                channels=4,
                levels=levels,
                stacks=stacks,
                kernel_size=3,
                volume_norm="svn" if svn else "cvn",
                statistics="batch",
                reduction="max",
            )


def test_released_resnet_weights_are_recognised():
    state = released_shapes(64, 2, 1)
    del state["inconv.weight"]
    encoder = encoder_of("resnet34").build(64, ())
    for ours, theirs in (("conv1", "inconv.0"), ("bn1", "inconv.1"), ("layer1", "inconv.4")):
        part = getattr(encoder, ours).state_dict()
        state |= {f"{theirs}.{k}": v for k, v in part.items()}
    model = PyramidFlow.from_released(state)
    assert model.architecture.encoder == "resnet34"
    assert torch.equal(model.encoder.conv1.weight, encoder.conv1.weight)


def test_foreign_weights_are_refused():
    with pytest.raises(InputError, match="which the released code does not know"):
        PyramidFlow.from_released({"fc.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="no coupling block"):
        PyramidFlow.from_released({"inconv.weight": torch.zeros(4, 3, 1, 1)})
    state = released_shapes(4, 3, 1)
    for name in [n for n in state if n.startswith("nf.moduleslst.2.")]:
        del state[name]
    with pytest.raises(InputError, match="fit no number"):
        PyramidFlow.from_released(state)
    state = released_shapes(4, 3, 1)
    del state["nf.moduleslst.1.conv1x1.w_p"]
    with pytest.raises(InputError, match="permutation"):
        PyramidFlow.from_released(state)
