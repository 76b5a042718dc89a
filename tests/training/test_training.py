"""Losses, ablations, the loop, exact resume."""

import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector, PyramidFlow
from pyramidflow.data import ImageSet, batch_of, list_images, network_input
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.model import ComposedContrast, InvertiblePyramid
from pyramidflow.spec import Preprocessing
from pyramidflow.training import (
    ContrastLoss,
    Interrupted,
    LikelihoodLoss,
    Recipe,
    Run,
    Task,
    Trainer,
    choose_loss,
    preset_settings,
    train,
)
from pyramidflow.training.progress import SilentProgress
from tests.support.detector_files import changed_header
from tests.support.tiny import TINY, write_image
from tests.support.trainings import assert_bit_equal, fit


def latents(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, 8 >> d, 8 >> d, generator=generator).double() for d in range(3)]


def slow_loss(z, contrast, compose_first, fourier):
    """The loss by its definition: pair by pair, every channel composed."""
    batch = len(z[0])
    pairs = [(i, j) for i in range(batch) for j in range(i + 1, batch)]
    if contrast == "zero":
        pairs = [(i, None) for i in range(batch)]
    values = []
    for i, j in pairs:
        first = [level[i : i + 1] for level in z]
        second = [torch.zeros_like(level[:1]) if j is None else level[j : j + 1] for level in z]
        if compose_first:
            first, second = [InvertiblePyramid.compose(first)], [InvertiblePyramid.compose(second)]
        squared = [(a - b).abs() ** 2 for a, b in zip(first, second, strict=True)]
        composed = InvertiblePyramid.compose(squared).mean(1)
        values.append(torch.fft.fft2(composed).abs().mean() if fourier else composed.mean())
    return torch.stack(values).mean()


@pytest.mark.parametrize("batch", [2, 3, 4])
@pytest.mark.parametrize(
    ("loss", "definition"),
    [
        (ContrastLoss(), ("partner", False, True)),
        (ContrastLoss(template=False), ("zero", False, True)),
        (ContrastLoss(pyramid_difference=False), ("partner", True, True)),
        (ContrastLoss(fourier=False), ("partner", False, False)),
        (ContrastLoss(template=False, pyramid_difference=False), ("zero", True, True)),
    ],
)
def test_contrast_loss_follows_its_definition(loss, definition, batch):
    z = latents(batch)
    torch.testing.assert_close(loss.of_latents(z), slow_loss(z, *definition))


@pytest.mark.usefixtures("one_thread")
def test_the_gradient_of_pairs_depends_on_no_thread():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 8, 32, 32, generator=generator).requires_grad_()

    def gradient(threads):
        torch.set_num_threads(threads)
        return torch.autograd.grad(ContrastLoss(fourier=False).of_latents([z]), z)[0]

    alone = gradient(1)
    assert all(torch.equal(gradient(2), alone) for _ in range(10))


def test_likelihood_loss_is_the_gaussian_density_per_dimension():
    model = PyramidFlow(channels=3, levels=2, stacks=1, kernel_size=3, volume_norm="none").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    image = torch.randn(2, 3, 8, 8).double()
    z, log_det = model.forward_with_log_det(image)
    assert log_det.abs().min() > 1e-3  # volume is not preserved here: the term matters
    normal = torch.distributions.Normal(0.0, 1.0)
    log_p = sum(normal.log_prob(level).sum((1, 2, 3)) for level in z) + log_det
    expected = -(log_p / sum(level[0].numel() for level in z)).mean()
    torch.testing.assert_close(LikelihoodLoss()(model, image), expected)


def test_each_ablation_changes_exactly_what_it_should():
    assert choose_loss(()) == ContrastLoss(template=True, pyramid_difference=True, fourier=True)
    assert choose_loss(["template"]) == ContrastLoss(template=False)
    assert choose_loss(["pyramid-difference"]) == ContrastLoss(pyramid_difference=False)
    assert choose_loss(["fourier-loss"]) == ContrastLoss(fourier=False)
    assert choose_loss(["volume-norm"]) == LikelihoodLoss()
    with pytest.raises(InputError, match="fourier-loss"):
        choose_loss(["fourier"])


def test_ablations_reach_model_template_and_map(tiny_set):
    plain = fit(tiny_set)
    assert plain.model.architecture.volume_norm == "cvn"
    assert all(z.abs().max() > 0 for z in plain.template)
    assert plain.model.architecture.pyramid_difference

    no_norm = fit(tiny_set, without=["volume-norm"])
    assert no_norm.model.architecture.volume_norm == "none"
    for block in no_norm.model.flow.blocks:
        assert not block.conv1x1.volume_norm
        assert torch.equal(block.volume_norm.running_mean, torch.zeros(1, 1, 1, 1))

    no_template = fit(tiny_set, without=["template"])
    assert all(torch.equal(z, torch.zeros_like(z)) for z in no_template.template)
    assert no_template.model.architecture == plain.model.architecture

    no_difference = fit(tiny_set, without=["pyramid-difference"])
    assert not no_difference.model.architecture.pyramid_difference
    image = torch.randn(1, 3, 16, 16)
    z = no_difference.model(image)
    composed = [InvertiblePyramid.compose(x) for x in (z, no_difference.template)]
    torch.testing.assert_close(
        no_difference.model.anomaly_map(image, ComposedContrast(no_difference.template)),
        (composed[0] - composed[1]).abs().mean(1),
    )

    no_fourier = fit(tiny_set, without=["fourier-loss"])
    assert no_fourier.model.architecture == plain.model.architecture
    assert no_fourier.training["history"][0]["loss"] != plain.training["history"][0]["loss"]


def test_training_lowers_the_loss_and_repeats_to_the_bit(tiny_set):
    first = fit(tiny_set, epochs=3)
    losses = [record["loss"] for record in first.training["history"]]
    held_out = [record["validation_loss"] for record in first.training["history"]]
    assert losses[2] < losses[0]
    assert held_out[2] < held_out[0]
    second = fit(tiny_set, epochs=3, deterministic=True)
    assert_bit_equal(first, second)
    assert first.threshold == second.threshold
    other = fit(tiny_set, epochs=3, seed=1)
    assert not torch.equal(other.template[0], first.template[0])


def test_determinism_switch_is_undone(tiny_set, monkeypatch):
    seen = []
    step = Trainer._step

    def spy(self, *arguments):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", spy)
    fit(tiny_set, deterministic=True)
    assert seen
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


class StopAfter(SilentProgress):
    """Requests a stop, as Ctrl-C does, after a number of units."""

    def __init__(self, units):
        self.left = units

    def begin(self, phase, done, total):
        self.counts = phase != "reading"

    def advance(self, loss=None):
        self.left -= self.counts
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def trainer(root, epochs, progress, checkpoint, **recipe):
    detector = Detector(16, **TINY)
    paths = list_images(root / "train" / "good")
    sets = (ImageSet(paths[:9], 16), ImageSet(paths[9:], 16))
    recipe = Recipe(epochs=epochs, augment="texture", **recipe)
    task = Task(detector.model, Preprocessing(16), *sets, recipe)
    return detector, Trainer(task, progress, Run(checkpoint))


def with_template(detector, result):
    return Detector.from_network(detector.model, result.normal.template, {"image_size": 16})


@pytest.mark.parametrize("units", [1, 3, 4, 6, 12, 14])
def test_resumed_training_is_bit_equal(tiny_set, tmp_path, units):
    # 9 images in pairs are 4 steps an epoch: stops in, at the end of, and after the epochs.
    whole, whole_trainer = trainer(tiny_set, 3, SilentProgress(), None)
    whole = with_template(whole, whole_trainer.run())
    checkpoint = tmp_path / "c.safetensors"
    _, stopped = trainer(tiny_set, 3, StopAfter(units), checkpoint)
    with pytest.raises(Interrupted, match="--resume"):
        stopped.run()
    resumed, resumed_trainer = trainer(tiny_set, 3, SilentProgress(), checkpoint)
    torch.manual_seed(99)  # whatever the process did before must not matter
    resumed_trainer.resume()
    result = resumed_trainer.run()
    assert_bit_equal(whole, with_template(resumed, result))
    expected = whole_trainer.position.history
    for a, b in zip(expected, result.history, strict=True):
        assert (a["loss"], a["validation_loss"]) == (b["loss"], b["validation_loss"])


def test_an_epoch_under_way_is_not_passed_off_as_none(tiny_set, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    _, stopped = trainer(tiny_set, 3, StopAfter(3), checkpoint)  # 1 epoch and 1 step
    with pytest.raises(Interrupted):
        stopped.run()
    _, shorter = trainer(tiny_set, 1, SilentProgress(), checkpoint)
    with pytest.raises(InputError, match="is in epoch 2, but only 1 are wanted"):
        shorter.resume()


def test_more_epochs_can_follow(tiny_set, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    fit(tiny_set, epochs=1, checkpoint=checkpoint)
    longer = fit(tiny_set, epochs=2, checkpoint=checkpoint, resume=True)
    assert_bit_equal(longer, fit(tiny_set, epochs=2))


def test_a_training_goes_on_from_a_checkpoint_with_the_older_name_of_the_lift(tiny_set, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    fit(tiny_set, epochs=1, checkpoint=checkpoint)
    header, tensors = load_tensors(checkpoint, "checkpoint")
    assert header["recipe"]["encoder"] == "lift"
    renamed = changed_header(header, ("recipe", "encoder"), "none")
    save_tensors(checkpoint, "checkpoint", renamed, tensors)
    resumed = fit(tiny_set, epochs=2, checkpoint=checkpoint, resume=True)
    assert_bit_equal(resumed, fit(tiny_set, epochs=2))


def test_checkpoint_of_another_training_is_refused(tiny_set, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    with pytest.raises(InputError, match="no checkpoint"):
        fit(tiny_set, checkpoint=checkpoint, resume=True)
    fit(tiny_set, epochs=2, checkpoint=checkpoint)
    with pytest.raises(InputError, match="batch_size = 4, but now it is 3"):
        fit(tiny_set, epochs=2, checkpoint=checkpoint, resume=True, batch_size=3)
    with pytest.raises(InputError, match="is in epoch 2, but only 1 are wanted"):
        fit(tiny_set, epochs=1, checkpoint=checkpoint, resume=True)
    other = tmp_path / "plate"
    shutil.copytree(tiny_set, other)
    write_image(other / "train" / "good" / "003.png", np.random.default_rng(5))
    with pytest.raises(InputError, match="images"):
        fit(other, epochs=2, checkpoint=checkpoint, resume=True)
    shutil.copytree(tiny_set, other, dirs_exist_ok=True)
    fit(other, epochs=2, checkpoint=checkpoint, resume=True)
    replaced = other / "train" / "good" / "003.png"
    size = replaced.stat().st_size
    darker = Image.fromarray(255 - np.asarray(Image.open(replaced)))
    darker.save(replaced)
    with replaced.open("ab") as file:  # the size that it had: only the content tells
        file.write(bytes(max(0, size - file.tell())))
    with pytest.raises(InputError, match="images"):
        fit(other, epochs=2, checkpoint=checkpoint, resume=True)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        fit(tiny_set, epochs=2, checkpoint=checkpoint, resume=True)


def test_test_images_and_held_out_images_do_not_train(tiny_set, tmp_path):
    without_tests = tmp_path / "plate"
    shutil.copytree(tiny_set, without_tests)
    shutil.rmtree(without_tests / "test")
    shutil.rmtree(without_tests / "ground_truth")
    assert_bit_equal(fit(tiny_set), fit(without_tests))
    detector = fit(tiny_set)
    assert detector.training["images"] == 9
    assert detector.training["held_out"] == 3
    assert detector.calibration["source"] == "held-out"


def test_template_is_the_mean_latent_of_the_training_images(tiny_set):
    paths = list_images(tiny_set / "train" / "good")
    model = PyramidFlow(**TINY)
    images = ImageSet(paths, 16)
    task = Task(model, Preprocessing(16), images, ImageSet([], 16), Recipe(epochs=1))
    result = train(task, Run(show_progress=False))
    model.eval()
    batch = network_input(
        [images[i] for i in range(len(images))], Preprocessing(16), torch.device("cpu")
    )
    for template, z in zip(result.normal.template, model(batch), strict=True):
        torch.testing.assert_close(template, z.mean(0, keepdim=True), atol=1e-5, rtol=1e-5)
    assert result.history[0]["validation_loss"] is None


def test_first_step_follows_the_published_optimiser(tiny_set):
    detector, made = trainer(tiny_set, 1, SilentProgress(), None)
    before = {k: v.detach().clone() for k, v in detector.model.named_parameters()}
    detector.model.train()
    made._step(0, batch_of([made.images[0], made.images[1]], made.preprocessing))
    total = torch.sqrt(sum(p.grad.square().sum() for p in detector.model.parameters()))
    assert float(total) <= 1.0 + 1e-5  # clipped
    for name, parameter in detector.model.named_parameters():
        gradient = parameter.grad + 1e-5 * before[name]
        # Adam's first step: both moments are corrected to the gradient itself.
        expected = before[name] - 2e-4 * gradient / (gradient.abs() + 1e-4)
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-7, rtol=1e-4)


def test_loss_that_is_not_finite_stops_with_a_reason(tiny_set):
    detector, made = trainer(tiny_set, 1, SilentProgress(), None)
    with torch.no_grad():
        next(detector.model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="loss became nan in epoch 1"):
        made.run()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "at least 2"),
        (
            {"without": ("templates",)},
            "without is 'templates': choose one of volume-norm",
        ),
        ({"augment": "auto"}, "augment is 'auto': choose one of none, texture"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"validation_share": 0.6}, "of at most 0.5"),
        ({"learning_rate": float("nan")}, "learning_rate is nan: give a number above 0"),
        ({"betas": (0.9, 1.0)}, "two numbers below 1"),
    ],
)
def test_impossible_recipes_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Recipe(**arguments)


def test_single_images_suffice_where_nothing_is_paired():
    assert Recipe(batch_size=1, without=("template",)).batch_size == 1
    assert Recipe(batch_size=1, without=("volume-norm",)).batch_size == 1


def test_published_settings_are_had_by_name_only():
    alone = {"batch_size": 2, "spread": "none", "light": False}
    released = alone | {"statistics": "batch"}
    assert preset_settings("mvtec", "grid") == {
        "volume_norm": "svn",
        "levels": 4,
        "augment": "texture",
        **released,
    }
    assert preset_settings("mvtec", "screw") == {
        "volume_norm": "cvn",
        "levels": 2,
        "augment": "none",
        **released,
    }
    assert preset_settings("mvtec", "carpet")["levels"] == 8
    assert preset_settings("mvtec", "plate") == {
        "volume_norm": "cvn",
        "levels": 4,
        "augment": "none",
        **released,
    }
    assert preset_settings("paper", "screw") == {"reduction": "nearest", **alone}
    with pytest.raises(InputError, match="the preset is 'visa': choose one of mvtec, paper"):
        preset_settings("visa", "plate")


@pytest.mark.parametrize("name", ["screw", "tile", "grid", "bottle", "transistor", "metal_nut"])
def test_settings_do_not_follow_from_a_folder_s_name(tiny_set, tmp_path, name):
    shutil.copytree(tiny_set, tmp_path / name)
    assert_bit_equal(fit(tiny_set), fit(tmp_path / name))


def test_loss_needs_pairs():
    with pytest.raises(InputError, match="at least 2"):
        ContrastLoss().of_latents(latents(1))
