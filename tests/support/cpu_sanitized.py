"""The CPU library's tests on a library that was built with AddressSanitizer, in its folder.

Tensors have no guards here: the sanitizer finds what is touched beside an allocation, if it has
its own size. The kernels take three threads: what a test with one does not show is scratch memory
for one.
"""

import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest
import torch

from pyramidflow.ops.libraries import loading
from tests.support import guarded
from tests.support.cpu_cases import TESTS

LEFT_OUT = "larger_than_the_caches"
"""Tests that take long and touch no other code than the rest."""


def main(folder: Path) -> int:
    """Exit code of the tests; their output is not captured, as the sanitizer ends the process."""
    options = ["-q", "-s", "-p", "no:cacheprovider", "-k", f"not {LEFT_OUT}"]
    with (
        mock.patch.object(loading, "FOLDER", folder),
        mock.patch.object(guarded, "surrounded", lambda value: value),
        mock.patch.object(guarded, "guarded_memory", nullcontext),
        mock.patch.object(torch, "get_num_threads", return_value=3),
    ):
        return pytest.main([*options, *map(str, TESTS)])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
