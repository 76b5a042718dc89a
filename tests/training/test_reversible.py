"""The reversible backward pass beside plain automatic differentiation."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from pyramidflow import Detector, PyramidFlow, ops
from pyramidflow.data import ImageSet, list_images, network_input
from pyramidflow.errors import InputError
from pyramidflow.model import CustomEncoder, Standardised
from pyramidflow.model.coupling import CouplingBlock, InvertibleConv1x1
from pyramidflow.ops.convolution import methods
from pyramidflow.spec import Preprocessing
from pyramidflow.training import (
    ContrastLoss,
    LikelihoodLoss,
    Recipe,
    Run,
    Task,
    choose_loss,
    memory,
    train,
)
from pyramidflow.training.memory import activation_bytes, fitting_mode, network_of
from pyramidflow.training.reversible import (
    pack_signs,
    reversible_flow,
    reversible_flow_with_log_det,
    unpack_signs,
)
from tests.support import trainings, triton_interpreter
from tests.support.numbers import relative_error
from tests.support.tiny import TINY
from tests.support.trainings import weights
from tests.support.triton_interpreter import INTERPRETED

if INTERPRETED:
    triton_interpreter.mend()

EXACT, GRADIENT = 1e-9, 1e-4

fit = partial(trainings.fit, epochs=2)


def network(strength=0.5, **arguments):
    """A network in training whose couplings do something, as they do not before a training."""
    torch.manual_seed(0)
    arguments = {"channels": 4, "levels": 3, "stacks": 1, "kernel_size": 3} | arguments
    model = PyramidFlow(**arguments)
    with torch.no_grad():
        for block in model.flow.blocks:
            weight = block.affine_params.conv2.weight
            weight.normal_(std=strength * weight[0].numel() ** -0.5)
    return model.train()


def gradients(model, image, loss, mode, device="cpu"):
    """Loss, gradients and running means of a step of a copy of the network."""
    model = copy.deepcopy(model).to(device, image.dtype)
    value = loss(network_of(model, mode), image.to(device))
    value.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    return value, found, dict(model.named_buffers())


def assert_alike(found, expected, tolerance):
    assert relative_error(found[0], expected[0]) <= tolerance
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert relative_error(found[1][name], gradient) <= tolerance, name
    for name, value in expected[2].items():
        assert torch.equal(found[2][name], value), name


CASES = [
    ({"volume_norm": norm, "statistics": statistics, "levels": levels}, size, ablations)
    for norm, statistics, levels, size, ablations in (
        ("cvn", "sample", 2, (16, 16), ()),
        ("cvn", "batch", 3, (20, 28), ()),
        ("svn", "sample", 4, (13, 37), ()),
        ("svn", "batch", 5, (17, 16), ()),
        ("none", "sample", 2, (15, 9), ("volume-norm",)),
        ("none", "sample", 4, (16, 24), ("volume-norm",)),
        ("cvn", "sample", 5, (21, 40), ("template",)),
        ("svn", "sample", 3, (16, 12), ("pyramid-difference",)),
        ("cvn", "batch", 4, (9, 31), ("fourier-loss",)),
    )
]


@pytest.mark.parametrize("stacks", [1, 3, 12])
@pytest.mark.parametrize(("arguments", "size", "ablations"), CASES)
def test_gradients_are_those_of_plain_differentiation(arguments, size, ablations, stacks):
    model = network(stacks=stacks, **arguments)
    image, loss = torch.randn(3, 3, *size), choose_loss(ablations)
    with ops.use_backend("reference"):
        both = [gradients(model, image.double(), loss, mode) for mode in ("reversible", "plain")]
        assert_alike(*both, EXACT)
    both = [gradients(model, image, loss, mode) for mode in ("reversible", "plain")]
    assert_alike(*both, GRADIENT)


@pytest.mark.parametrize(("norm", "reduction"), [("cvn", "max"), ("svn", "nearest")])
def test_every_backend(norm, reduction, model_device):
    model = network(volume_norm=norm, reduction=reduction)
    image = torch.randn(2, 3, 12, 16)
    both = [
        gradients(model, image, ContrastLoss(), mode, model_device)
        for mode in ("reversible", "plain")
    ]
    assert_alike(*both, GRADIENT)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    pytest.importorskip("triton", reason="triton is not installed")
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    return triton_interpreter.outcomes([__file__], "test_every_backend", report)


@pytest.mark.skipif(INTERPRETED, reason="this is the process with the interpreter")
def test_triton_in_the_interpreter(interpreted):
    assert len(interpreted["test_every_backend"]) == 2
    assert not triton_interpreter.failures(interpreted["test_every_backend"])


@pytest.mark.parametrize("keep_every", [1, 2, 5])
def test_kept_pyramids_change_nothing_but_rounding(keep_every):
    model = network(stacks=5).double()
    pyramid = model.decompose(torch.randn(2, 3, 16, 16).double())
    plain = copy.deepcopy(model)
    ContrastLoss().of_latents(plain.flow(pyramid)).backward()
    latents = reversible_flow(model.flow, pyramid, keep_every)
    ContrastLoss().of_latents(latents).backward()
    for found, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert relative_error(found.grad, expected.grad) <= EXACT


@pytest.mark.parametrize("training", [True, False])
def test_levels_receive_gradients_too(training):
    model = network(stacks=2).double()
    model.flow(model.decompose(torch.randn(2, 3, 16, 16).double()))  # leaves running means behind
    model.train(training)
    levels = model.decompose(torch.randn(2, 3, 16, 16).double())
    found = []
    for flow in (
        model.flow.forward_with_log_det,
        partial(reversible_flow_with_log_det, model.flow),
    ):
        pyramid = tuple(x.clone().requires_grad_() for x in levels)
        latents, log_det = flow(pyramid)
        total = sum(z.sin().sum() for z in latents[1:]) + log_det.sin().sum()
        found.append(torch.autograd.grad(total, [*pyramid, *model.flow.parameters()]))
    for plain, reversible in zip(*found, strict=True):
        assert relative_error(reversible, plain) <= EXACT


@pytest.mark.parametrize("way", ["plain", "reversible"])
def test_log_determinants_of_convolutions_are_computed_where_a_loss_asks(way, monkeypatch):
    def refused(*_):
        raise AssertionError("a log-determinant")

    model = network()
    monkeypatch.setattr(InvertibleConv1x1, "log_det", refused)
    monkeypatch.setattr(type(model.encoder), "log_det", refused)
    image = torch.randn(2, 3, 16, 16)
    gradients(model, image, ContrastLoss(), way)
    model.inverse(model.eval()(image))
    with pytest.raises(AssertionError, match="a log-determinant"):
        gradients(model, image, LikelihoodLoss(), way)


def test_means_of_the_forward_pass_serve_the_backward_pass():
    model = network().double()
    image = torch.randn(2, 3, 16, 16).double()
    model(image)
    model.eval()
    _, expected, _ = gradients(model, image, ContrastLoss(), "plain")
    loss = ContrastLoss()(network_of(model, "reversible"), image)
    model.train()(3 * image)  # other running means, and no fixed ones any more
    loss.backward()
    for name, parameter in model.named_parameters():
        assert relative_error(parameter.grad, expected[name]) <= EXACT


def test_frozen_parts_have_no_gradient():
    model = network(stacks=2).double()
    for block in list(model.flow.blocks)[:4]:
        block.requires_grad_(False)
    both = [
        gradients(model, torch.randn(2, 3, 16, 16).double(), ContrastLoss(), mode)[1]
        for mode in ("reversible", "plain")
    ]
    for name, gradient in both[1].items():
        assert (both[0][name] is None) == (gradient is None), name


@pytest.mark.parametrize(
    ("dtype", "tile"), [(torch.float64, 0), (torch.float32, 0), (torch.float32, 12)]
)
def test_rounding_does_not_carry_a_value_over_the_bend(monkeypatch, dtype, tile):
    # Without the recorded sides some hidden values come back on the other side of zero, and the
    # gradients of this small map are off by a hundredth.
    monkeypatch.setattr(methods, "fastest", lambda shape: methods.with_tile(shape, tile))
    model = network(stacks=6, channels=8, levels=4, kernel_size=7)
    torch.manual_seed(0)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64).to(dtype)
    _, expected, _ = gradients(model, image, ContrastLoss(), "plain")
    uncouple = CouplingBlock.uncouple

    def rounded(self, *arguments, **asked):
        x, log_det = uncouple(self, *arguments, **asked)
        return x * (1 + 1e-5 * torch.randn_like(x)), log_det

    monkeypatch.setattr(CouplingBlock, "uncouple", rounded)
    _, found, _ = gradients(model, image, ContrastLoss(), "reversible")
    for name, gradient in expected.items():
        assert relative_error(found[name], gradient) <= 1e-4, name


def test_deep_flows_in_float32():
    # Stronger couplings would grow over so many stacks beyond what float32 holds.
    model = network(strength=0.1, stacks=64, levels=2)
    image = torch.randn(2, 3, 16, 16)
    both = [gradients(model, image, ContrastLoss(), mode) for mode in ("reversible", "plain")]
    assert_alike(*both, GRADIENT)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (2, 8, 4, 4)])
def test_signs_come_back(shape):
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    x[0, 0, 0, 0] = 0.0
    packed = pack_signs(x)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-x.numel() // 8)
    assert torch.equal(unpack_signs(packed, shape), x > 0)
    assert torch.equal(unpack_signs(pack_signs(x.contiguous()), shape), x > 0)


def test_a_weight_that_changed_in_between_is_refused():
    model = network()
    loss = ContrastLoss()(network_of(model, "reversible"), torch.randn(2, 3, 16, 16))
    with torch.no_grad():
        model.flow.blocks[0].affine_params.conv1.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def saved_bytes(model, mode, loss):
    """Bytes that a step keeps for its backward pass, without what is there anyhow."""
    image = torch.randn(2, 3, 64, 64)
    levels = model.decompose(image)
    known = {x.untyped_storage().data_ptr() for x in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(x):
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), x)  # held, so that no address comes again
        return x

    del levels
    with saved_tensors_hooks(keep, lambda x: x):
        value = loss(network_of(model, mode), image)
    del value
    return sum(size for pointer, (size, _) in kept.items() if pointer not in known)


@pytest.mark.parametrize("loss", [ContrastLoss(), LikelihoodLoss()])
def test_memory_hardly_grows_with_depth(loss):
    kept = {
        (mode, stacks): saved_bytes(network(stacks=stacks, channels=8), mode, loss)
        for mode in ("plain", "reversible")
        for stacks in (2, 12)
    }
    growth = kept["reversible", 12] - kept["reversible", 2]
    assert 0 < growth < 0.02 * (kept["plain", 12] - kept["plain", 2])


@pytest.mark.parametrize(
    "arguments", [{"levels": 2}, {"levels": 5, "volume_norm": "svn"}, {"channels": 8, "levels": 4}]
)
def test_activations_are_estimated(arguments):
    small, large = (network(stacks=stacks, kernel_size=1, **arguments) for stacks in (2, 10))
    kept = [saved_bytes(model, "plain", ContrastLoss()) for model in (small, large)]
    estimates = [activation_bytes(model, (64, 64), 2) for model in (small, large)]
    assert estimates[1] - estimates[0] == pytest.approx(kept[1] - kept[0], rel=0.01)


@pytest.mark.parametrize(
    ("free", "mode"), [(None, "plain"), (2000, "plain"), (1999, "reversible"), (0, "reversible")]
)
def test_what_fits_half_of_the_free_memory_is_plain(monkeypatch, free, mode):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    assert fitting_mode(1000, torch.device("cpu")) == mode


def test_free_memory_is_asked_for():
    assert memory.free_bytes(torch.device("cpu")) > 1 << 20
    assert memory.free_bytes(torch.device("meta")) is None


@pytest.mark.parametrize("without", [(), ("volume-norm",)])
def test_trainings_end_alike(tiny_set, without):
    plain, reversible = (
        weights(
            Detector(16, **TINY, without=without).fit(
                tiny_set, epochs=4, validation_share=0.25, show_progress=False, memory=mode
            )
        )
        for mode in ("plain", "reversible")
    )
    for name, value in plain.items():
        if value.is_floating_point() and value.norm() > 0:
            assert relative_error(reversible[name], value) <= 1e-4, name


def test_a_small_training_is_plain_where_nothing_is_asked_for(tiny_set):
    one, other = weights(fit(tiny_set)), weights(fit(tiny_set, memory="plain"))
    for name, value in one.items():
        assert torch.equal(value, other[name])


def test_a_resumed_training_keeps_to_its_mode(tiny_set, tmp_path, monkeypatch):
    checkpoint = tmp_path / "c.safetensors"
    whole = weights(fit(tiny_set, memory="reversible"))
    fit(tiny_set, epochs=1, memory="reversible", checkpoint=checkpoint)
    with pytest.raises(InputError, match="memory = 'reversible', but now it is 'plain'"):
        fit(tiny_set, memory="plain", checkpoint=checkpoint, resume=True)
    begun = checkpoint.read_bytes()
    for wanted in ("reversible", "auto"):
        checkpoint.write_bytes(begun)
        resumed = weights(fit(tiny_set, memory=wanted, checkpoint=checkpoint, resume=True))
        for name, value in whole.items():
            assert torch.equal(resumed[name], value), name


def test_a_large_training_is_reversible_and_says_so(tiny_set, monkeypatch, capsys):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    said = weights(fit(tiny_set, show_progress=True))
    assert "they are computed again (--memory plain" in " ".join(capsys.readouterr().err.split())
    asked = weights(fit(tiny_set, memory="reversible", show_progress=True))
    assert "computed again" not in capsys.readouterr().err
    for name, value in said.items():
        assert torch.equal(value, asked[name])


@pytest.mark.parametrize("mode", ["plain", "reversible"])
def test_an_encoder_is_standardised_before_either(tiny_set, mode):
    torch.manual_seed(0)
    model = PyramidFlow(**TINY)
    model.encoder = Standardised(CustomEncoder(nn.Conv2d(3, TINY["channels"], 1)), TINY["channels"])
    images = ImageSet(list_images(tiny_set / "train" / "good"), 16, cache_bytes=0)
    recipe = Recipe(epochs=1, memory=mode)
    task = Task(model, Preprocessing(16), images, ImageSet([], 16), recipe)
    train(task, Run(show_progress=False))
    batch = [images[index] for index in range(len(images))]
    features = model.features(network_input(batch, Preprocessing(16), torch.device("cpu")))
    torch.testing.assert_close(features.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_memory_is_one_of_three():
    with pytest.raises(
        InputError, match="memory is 'small': choose one of auto, plain, reversible"
    ):
        Detector(16, **TINY).fit("nowhere", memory="small")
