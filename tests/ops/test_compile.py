"""The operations under PyTorch's compiler and export."""

import os
import shutil

import pytest
import torch

from pyramidflow.model import PyramidFlow
from tests.support.operands import random


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
