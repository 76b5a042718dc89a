"""Equality with the authors' released code, on recorded cases of it."""

import numpy as np
import pytest
import torch
from conftest import relative_error

from pyramidflow import PyramidFlow, ops
from pyramidflow.model.released import released_name
from pyramidflow.training import ContrastLoss

CASES = ("released_cvn_c4_l3_d1_k3", "released_svn_c6_l4_d2_k5")
FORWARD, GRADIENT = 1e-5, 1e-4


@pytest.fixture(autouse=True, params=["reference", "cpu"])
def backend(request):
    state = {record.name: record for record in ops.backends()}[request.param]
    if not state.available:
        pytest.skip(state.reason)
    with ops.use_backend(request.param):
        yield


@pytest.fixture(scope="module", params=CASES)
def case(request, shared_data):
    with np.load(shared_data / "released" / f"{request.param}.npz") as arrays:
        return dict(arrays)


def read(case):
    state = {k.removeprefix("state/"): v for k, v in case.items() if k.startswith("state/")}
    return PyramidFlow.from_released(state), torch.from_numpy(case["image"])


def test_configuration_is_inferred(case):
    model, _ = read(case)
    channels, levels, stacks, kernel_size, norm_dimensions, _ = case["config"]
    architecture = model.architecture
    assert (architecture.channels, architecture.levels) == (channels, levels)
    assert (architecture.stacks, architecture.kernel_size) == (stacks, kernel_size)
    assert architecture.volume_norm == {2: "cvn", 3: "svn"}[int(norm_dimensions)]


def test_pyramid_latents_and_anomaly_map(case):
    model, image = read(case)
    for d, level in enumerate(model.decompose(image)):
        assert relative_error(level, case[f"pyramid{d}"]) <= FORWARD
    latents = model(image)
    for d, z in enumerate(latents):
        assert relative_error(z, case[f"eval/latent{d}"]) <= FORWARD
    template = [z.mean(0, keepdim=True) for z in latents]
    assert relative_error(model.anomaly_map(image, template), case["eval/anomaly_map"]) <= FORWARD


def test_training_step(case):
    model, image = read(case)
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


def test_inverse_returns_the_features(case):
    model, image = read(case)
    assert relative_error(model.inverse(model(image)), model.features(image)) <= FORWARD
