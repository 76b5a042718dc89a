"""What the benchmarks share: their size, and what a result is recorded with.

``pytest benchmarks/`` runs them all; ``--small`` only shows that they run. To keep numbers, write
``pytest benchmarks/test_ops.py --benchmark-json=benchmarks/results/ops.json``: the file then has
the machine, the versions, the commit and the command.
"""

import importlib.util
import shlex
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from benchmarks import ops


@dataclass(frozen=True)
class Scale:
    """How large the benchmarks are.

    Attributes:
        image_size: side of the operations' images.
        channels: of the operations' images.
        small: whether this only shows that they run.
    """

    image_size: int
    channels: int
    small: bool = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of every benchmark."""
    group = parser.getgroup("pyramidflow")
    group.addoption("--image-size", type=int, default=1024, help="side of the operations' images")
    group.addoption("--channels", type=int, default=16, help="channels of the operations' images")
    group.addoption("--small", action="store_true", help="tiny sizes: only whether it runs")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is missing before every benchmark fails for want of it."""
    if importlib.util.find_spec("pytest_benchmark") is None:
        raise pytest.UsageError("pytest-benchmark is not installed: pip install -e '.[bench]'")


def scale_of(config: pytest.Config) -> Scale:
    """Sizes that the command line asks for."""
    if config.getoption("small"):
        return Scale(image_size=16, channels=4, small=True)
    return Scale(config.getoption("image_size"), config.getoption("channels"))


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    """Sizes of this run."""
    return scale_of(pytestconfig)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Record what the numbers depend on, beside what pytest-benchmark records itself."""
    machine_info.update(ops.machine())
    machine_info["command"] = shlex.join(["pytest", *config.invocation_params.args])
    if torch.cuda.is_available():
        machine_info["gpu"] = torch.cuda.get_device_name()
        machine_info["cuda"] = torch.version.cuda
