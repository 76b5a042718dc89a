"""What the benchmarks share: their size, and what a result is recorded with.

``pytest benchmarks/`` runs them all; ``--small`` only shows that they run. To keep numbers, write
``pytest benchmarks/model/test_network.py --benchmark-json=benchmarks/results/model.json``: the file
and the Markdown beside it are then those of every benchmark.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.harness import pytest_results, results
from benchmarks.harness.facts import machine, shown_command


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
    machine_info.update(machine())
    machine_info["command"] = shown_command("pytest", config.invocation_params.args)
    if torch.cuda.is_available():
        machine_info["gpu"] = torch.cuda.get_device_name()
        machine_info["cuda"] = torch.version.cuda


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Bring the JSON file into the form of all results, and put the Markdown beside it."""
    facts, cases = pytest_results.facts_of(output_json), pytest_results.cases_of(output_json)
    output_json.clear()
    output_json.update(results.report(facts, cases))
    given = config.getoption("benchmark_json")
    if given is not None:
        file, text = Path(given).with_suffix(".md"), pytest_results.table(cases)
        results.write_markdown(file, f"Benchmarks: {file.stem}", facts, text)
