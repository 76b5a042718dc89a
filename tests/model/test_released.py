"""Equality with the authors' released code, on recorded cases of it, through every backend."""

import numpy as np
import pytest
import torch

from pyramidflow import PyramidFlow
from pyramidflow.model import Contrast
from pyramidflow.model.released import released_name
from pyramidflow.training import ContrastLoss
from tests.support import triton_interpreter
from tests.support.numbers import relative_error
from tests.support.places import RECORDED
from tests.support.triton_interpreter import INTERPRETED

CASES = ("released_cvn_c4_l3_d1_k3", "released_svn_c6_l4_d2_k5")
FORWARD, GRADIENT = 1e-5, 1e-4

if INTERPRETED:
    triton_interpreter.mend()


@pytest.fixture(scope="module", params=CASES)
def case(request):
    with np.load(RECORDED / f"{request.param}.npz") as arrays:
        return dict(arrays)


def read(case, device):
    state = {k.removeprefix("state/"): v for k, v in case.items() if k.startswith("state/")}
    return PyramidFlow.from_released(state).to(device), torch.from_numpy(case["image"]).to(device)


def test_configuration_is_inferred(case):
    model, _ = read(case, "cpu")
    channels, levels, stacks, kernel_size, norm_dimensions, _ = case["config"]
    architecture = model.architecture
    assert (architecture.channels, architecture.levels) == (channels, levels)
    assert (architecture.stacks, architecture.kernel_size) == (stacks, kernel_size)
    assert architecture.volume_norm == {2: "cvn", 3: "svn"}[int(norm_dimensions)]


def test_pyramid_latents_and_anomaly_map(case, model_device):
    model, image = read(case, model_device)
    for d, level in enumerate(model.decompose(image)):
        assert relative_error(level, case[f"pyramid{d}"]) <= FORWARD
    latents = model(image)
    for d, z in enumerate(latents):
        assert relative_error(z, case[f"eval/latent{d}"]) <= FORWARD
    template = [z.mean(0, keepdim=True) for z in latents]
    assert (
        relative_error(model.anomaly_map(image, Contrast(template)), case["eval/anomaly_map"])
        <= FORWARD
    )


def test_training_step(case, model_device):
    model, image = read(case, model_device)
    model.train()
    latents = model(image)
    for d, z in enumerate(latents):
        assert relative_error(z, case[f"train/latent{d}"]) <= FORWARD
    loss = ContrastLoss().of_latents(latents)
    assert relative_error(loss, case["train/loss"]) <= FORWARD
    loss.backward()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    gradients = {k.removeprefix("train/grad/"): v for k, v in case.items() if "/grad/" in k}
    assert len(gradients) == len(parameters)
    for name, expected in gradients.items():
        assert relative_error(parameters[released_name(name)].grad, expected) <= GRADIENT, name
    after = {k.removeprefix("train/after/"): v for k, v in case.items() if "/after/" in k}
    assert len(after) == len(model.flow.blocks)
    for name, expected in after.items():
        assert relative_error(buffers[released_name(name)], expected) <= FORWARD, name


def test_inverse_returns_the_features(case, model_device):
    model, image = read(case, model_device)
    assert relative_error(model.inverse(model(image)), model.features(image)) <= FORWARD


IN_THE_INTERPRETER = (
    *(("test_pyramid_latents_and_anomaly_map", case) for case in CASES),
    *(("test_training_step", case) for case in CASES),
    ("test_inverse_returns_the_features", CASES[0]),
)
"""The inverse of the larger case is left out for its time; it runs on a GPU."""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    pytest.importorskip("triton", reason="triton is not installed")
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    chosen = " or ".join(f"({test} and {case})" for test, case in IN_THE_INTERPRETER)
    return triton_interpreter.outcomes([__file__], chosen, report)


@pytest.mark.skipif(INTERPRETED, reason="this is the process with the interpreter")
@pytest.mark.parametrize(("test", "case"), IN_THE_INTERPRETER)
def test_triton_in_the_interpreter(test, case, interpreted):
    outcomes = [outcome for outcome in interpreted[test] if case in outcome[0]]
    assert len(outcomes) == 1
    assert not triton_interpreter.failures(outcomes)
