"""Networks, images and expected maps for the tests of the runtimes."""

import subprocess
import sys

import torch
from torch import Tensor, nn

from pyramidflow import ops
from pyramidflow.model import Comparison, ComposedContrast, Contrast, PyramidFlow
from pyramidflow.runtime import InspectionSettings, TrainedNetwork, cpu
from pyramidflow.spec import IMAGENET_MEAN, IMAGENET_STD, ContrastRule
from pyramidflow.training.statistics import normal_of

MEAN, STD = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])

ERROR = 1e-5
"""Relative error that the design allows forward, here for the whole path in float32."""


def trained_network(size: tuple[int, int], **settings) -> PyramidFlow:
    """A network whose couplings do something and whose running means are not zero."""
    torch.manual_seed(0)
    network = PyramidFlow(**settings)
    for name, parameter in network.named_parameters():
        if name.endswith("conv2.weight") and "affine" in name:
            nn.init.normal_(parameter, std=0.03)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    network.train()
    with torch.no_grad():
        network(torch.randn(2, 3, *size))
    return network.eval()


def comparison_of_images(network, size, **settings):
    """Of three random images, with all that a rule asks for."""
    rule = ContrastRule(**settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        latents = [network(torch.randn(1, 3, *size, generator=generator)) for _ in range(3)]
    return normal_of(network, latents.__getitem__, 3, rule).comparison(rule)


def trained(network: PyramidFlow, comparison: Comparison) -> TrainedNetwork:
    return TrainedNetwork(network, comparison, IMAGENET_MEAN, IMAGENET_STD)


def whole_runtime(
    network: PyramidFlow, comparison: Comparison, size: tuple[int, int, int], **settings
) -> cpu.CpuRuntime:
    batch, *image = size
    subject, found = trained(network, comparison), InspectionSettings(**settings)
    plan = cpu.plan(subject, tuple(image), found, images=batch)
    return cpu.CpuRuntime(subject, (batch, *image), plan, found.threads)


def pictures(batch: int, size: tuple[int, int], dtype: torch.dtype = torch.uint8) -> Tensor:
    top = 256 if dtype == torch.uint8 else 65536
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, top, (batch, *size, 3), generator=generator, dtype=torch.int32).to(
        dtype
    )


def printed(script: str) -> list[int]:
    """The numbers that a program prints in a process of its own."""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in run.stdout.split()]


def assert_allocates_nothing(runtime: cpu.CpuRuntime | cpu.TiledRuntime, images: Tensor) -> None:
    """Once it has inspected the first images."""
    runtime.inspect(images)
    with torch.profiler.profile(profile_memory=True) as profile:
        runtime.inspect(images)
    allocated = [event for event in profile.events() if event.cpu_memory_usage > 0]
    assert not allocated, [event.name for event in allocated]


def contrast_of(network: PyramidFlow, size: tuple[int, int]) -> Contrast | ComposedContrast:
    with torch.no_grad():
        latents = network(torch.zeros(1, 3, *size))
    kind = Contrast if network.architecture.pyramid_difference else ComposedContrast
    return kind([0.5 * torch.randn_like(z) for z in latents])


def full_contrast_of(network: PyramidFlow, size: tuple[int, int]) -> Contrast:
    """With a spread, and means taken off that are not small."""
    template = [z + 0.3 for z in contrast_of(network, size).template]
    spread = [torch.rand_like(z) + 0.5 for z in template]
    return Contrast(template, [1 / s for s in spread], without_mean=True)


def oracle(network: PyramidFlow, images: Tensor, comparison: Comparison) -> Tensor:
    """Anomaly maps of the network in float64 on the reference operations."""
    double = PyramidFlow.from_architecture(
        network.architecture,
        getattr(network.encoder, "module", None)
        if network.architecture.encoder == "custom"
        else None,
    )
    double.load_state_dict(network.state_dict())
    double = double.double().eval()
    pixels = images.double() / (255 if images.dtype == torch.uint8 else 65535)
    normalized = ((pixels - MEAN) / STD).permute(0, 3, 1, 2)
    with torch.no_grad(), ops.use_backend("reference"):
        maps = double.anomaly_map(normalized, comparison.to(pixels.device, torch.float64))
    network.float()
    return maps
