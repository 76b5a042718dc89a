"""The comparisons of the Triton backend with the oracle, in Triton's interpreter.

They stand in ``test_triton_….py`` and run in a process of its own (``triton_interpreter.py``). In
the process of the other tests they are ``gpu`` tests, on a CUDA device and compiled for it.
"""

from importlib import import_module
from pathlib import Path

import pytest

from tests.support import triton_interpreter

pytest.importorskip("triton", reason="triton is not installed")

from tests.support.triton_cases import COMPARISONS, INTERPRETED

MODULES = [f"test_triton_{family}" for family in triton_interpreter.FAMILIES]
for module in MODULES:
    import_module(f"tests.proofs.{module}")


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    files = [str(Path(__file__).with_name(f"{module}.py")) for module in MODULES]
    return triton_interpreter.outcomes(files, "equals_oracle", report)


@pytest.mark.skipif(INTERPRETED, reason="this is the process with the interpreter")
@pytest.mark.parametrize("test", COMPARISONS)
def test_in_the_interpreter(test: str, interpreted: dict[str, list[tuple[str, str]]]) -> None:
    assert not triton_interpreter.failures(interpreted[test])
