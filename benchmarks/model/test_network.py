"""The whole network beside itself in plain PyTorch: inference on the runtime, and a training step.

The two take turns; ``times_faster`` in the results is the ratio of their medians. A batch of 8 at
1024×1024 takes plain PyTorch about a minute, all of this a quarter of an hour.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.conftest import Scale
from benchmarks.harness.subjects import detector, images, recipe_step
from benchmarks.harness.turns import compare
from pyramidflow import ops
from pyramidflow.model import Contrast
from pyramidflow.ops import dispatch
from pyramidflow.runtime import TrainedNetwork, cpu
from pyramidflow.training import Recipe

CASES: list[tuple[str, int, int]] = [
    ("lift", 256, 1),
    ("lift", 256, 8),
    ("lift", 1024, 1),
    ("lift", 1024, 8),
    ("resnet18", 1024, 1),
    ("resnet18", 1024, 8),
]
"""Encoder, image size and batch."""

NAMES = {"lift": "baseline", "resnet18": "ResNet18"}
SMALL_SIZE = 32


@pytest.fixture(autouse=True)
def _kernels() -> None:
    state = dispatch.status("cpu")
    if not state.available:
        pytest.skip(state.reason)


@pytest.mark.parametrize(("encoder", "size", "batch"), CASES)
def test_inference(benchmark: Any, scale: Scale, encoder: str, size: int, batch: int) -> None:
    """From camera pixels to the anomaly map of the feature map's size."""
    size = SMALL_SIZE if scale.small else size
    shown = f"{NAMES[encoder]}, {size}×{size}, batch {batch}"
    subject = detector(encoder, size, 4 if scale.small else 16)
    network = subject.model
    assert subject.template is not None
    contrast = Contrast(subject.template)
    mean, std = torch.tensor([subject.preprocessing.mean, subject.preprocessing.std])
    trained = TrainedNetwork(
        network, contrast, subject.preprocessing.mean, subject.preprocessing.std
    )
    runtime = cpu.make(trained, (size, size), images=batch)
    pixels = images(batch, size)

    def reference() -> Tensor:
        with ops.use_backend("reference"):
            return network.anomaly_map(ops.normalize_image(pixels, mean, std), contrast)

    with torch.inference_mode():
        expected = reference()
        error = (runtime.inspect(pixels) - expected).norm() / expected.norm()
        benchmark.group = f"inference: {shown}"
        benchmark.extra_info.update(
            case=shown,
            batch=batch,
            relative_difference=float(error),
            threads=torch.get_num_threads(),
        )
        compare(benchmark, lambda: runtime.inspect(pixels), reference, scale.small)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["milliseconds_per_image"] = 1e3 * seconds / batch


def test_training_step(benchmark: Any, scale: Scale) -> None:
    """The baseline at 256×256, a batch of 2: loss, gradients, clipping and Adam."""
    size = SMALL_SIZE if scale.small else 256
    subject = detector("lift", size, 4 if scale.small else 16)
    batch_size = Recipe().batch_size
    mean, std = torch.tensor([subject.preprocessing.mean, subject.preprocessing.std])
    batch = ops.normalize_image(images(batch_size, size), mean, std)
    step = recipe_step(subject.model, batch)

    def reference() -> None:
        with ops.use_backend("reference"):
            step()

    benchmark.group = f"training step: baseline, {size}×{size}, batch {batch_size}"
    benchmark.extra_info.update(
        case=benchmark.group, batch=batch_size, threads=torch.get_num_threads()
    )
    compare(benchmark, step, reference, scale.small)
