"""The lists of mutants in this folder fit the sources, so that they can be run any time.

They quote the sources, so a change of these need not be a fault: ``pytest -m mutants`` is no part
of the tests, but the first step before a list is run or written anew.
"""

import importlib
import os
from types import ModuleType

import pytest

from tests.support.places import ROOT

pytestmark = pytest.mark.mutants


@pytest.fixture
def mutants(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A list of mutants."""
    monkeypatch.setitem(os.environ, "TRITON_INTERPRET", "0")  # what a list sets ends with the test
    return importlib.import_module(f"tests.proofs.mutations.{request.param}")


@pytest.mark.parametrize("mutants", ["cpu"], indirect=True)
def test_cpu_mutants_stand_in_the_sources(mutants: ModuleType) -> None:
    for mutant in mutants.MUTANTS:
        text = mutants.source_of(mutant).read_text()
        assert mutants.changed(text, mutant.old, mutant.new) != text


@pytest.mark.parametrize("mutants", ["cuda"], indirect=True)
def test_cuda_mutants_stand_in_the_sources(mutants: ModuleType) -> None:
    for mutant in mutants.MUTANTS:
        (file,) = (ROOT / "csrc").glob(f"*/{mutant.file}")
        text = file.read_text()
        assert mutants.changed(text, mutant.old, mutant.new, times=1) != text


@pytest.mark.parametrize("mutants", ["triton"], indirect=True)
def test_triton_mutants_stand_in_the_sources(mutants: ModuleType) -> None:
    for mutant in mutants.MUTANTS:
        text = (ROOT / "kernels" / mutant.file).read_text()
        assert mutants.mutated(text, mutant) != text
