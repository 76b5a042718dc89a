"""What several test files need."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.backends import require_backend, unproven
from tests.support.tiny import TINY, write_image
from tests.support.triton_interpreter import INTERPRETED

# The tests' tensors are tiny: more threads would only wait for one another, on a busy machine for
# very long. The kernels' own tests ask for threads where they matter. Processes that tests start
# take as many, whatever the caller has: the bits of a training depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# The same plans on every machine, and nothing written to the caches of whoever runs the tests.
os.environ.setdefault("PYRAMIDFLOW_COSTS", "nominal")

# A shell that starts the tests in the background has them ignore Ctrl-C, nohup the end of the
# terminal, and the program then keeps ignoring it; the tests of its stops need both.
for stop, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, stop, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


LONGEST = (
    "proofs/test_cpu_sanitized.py",
    "bulk/test_ray_engine.py",
    "proofs/test_cuda_host.py",
    "training/test_several.py",
    "proofs/test_triton.py",
    "bulk/test_reproduction.py",
    "proofs/test_cuda_compiled.py",
    "cli/test_commands.py",
    "cli/test_run.py",
    "cli/test_inspect_stops.py",
    "diagnosis/test_diagnosis.py",
    "line/outbox/test_killed.py",
)
"""Files that take long, most of them with few tests."""


def pytest_collection_modifyitems(items):
    """Where processes share the files: the longest first, then those with the most tests.

    A long file that began last would let the other processes wait for it.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    folder = Path(__file__).parent
    rank = {folder / name: place for place, name in enumerate(LONGEST)}
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), -counts[item.path]))


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """A category in MVTec AD layout: 12 good images to train on, 4 good and 4 defective to test."""
    root = tmp_path_factory.mktemp("data") / "plate"
    rng = np.random.default_rng(0)
    for i in range(12):
        write_image(root / "train" / "good" / f"{i:03}.png", rng)
    for i in range(4):
        write_image(root / "test" / "good" / f"{i:03}.png", rng)
        write_image(root / "test" / "dent" / f"{i:03}.png", rng, defect=True)
        mask = np.zeros((24, 24), np.uint8)
        mask[8:14, 8:14] = 255
        path = root / "ground_truth" / "dent" / f"{i:03}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return root


@pytest.fixture(scope="session")
def tiny_detector_file(tiny_set, tmp_path_factory):
    """A detector trained for two epochs on the tiny set."""
    from pyramidflow import Detector

    detector = Detector(16, **TINY).fit(
        tiny_set, epochs=2, validation_share=0.25, show_progress=False
    )
    path = tmp_path_factory.mktemp("model") / "plate.safetensors"
    detector.save(path)
    return path


@pytest.fixture
def uncalibrated(tiny_detector_file):
    """The same detector, loaded anew, without a threshold."""
    from pyramidflow import Detector

    found = Detector.load(tiny_detector_file)
    found.threshold = None
    return found


@pytest.fixture
def one_thread():
    """One thread of PyTorch again, whatever the test takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def poisoned_memory():
    """Results of operations start as NaN, and nothing is written around them."""
    from tests.support.guarded import guarded_memory

    with guarded_memory():
        yield


if INTERPRETED:
    MODEL_BACKENDS: list[Any] = ["triton"]
else:
    MODEL_BACKENDS = [
        "reference",
        "cpu",
        "cuda on the host",
        *(pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda", "triton")),
    ]


@pytest.fixture(params=MODEL_BACKENDS)
def model_device(request):
    """Where a model runs on each backend: the device, while the backend is chosen."""
    from pyramidflow import ops
    from tests.support import cuda_host

    if request.param == "cuda on the host":
        with cuda_host.backend(cuda_host.library_or_skip()):
            yield "cpu"
        return
    state = {record.name: record for record in ops.backends()}[request.param]
    if not state.available:
        # A GPU's absence is no fault of the build.
        (unproven if request.param == "cpu" else pytest.skip)(state.reason)
    with ops.use_backend(request.param):
        yield "cpu" if INTERPRETED or request.param in ("reference", "cpu") else "cuda"


@pytest.fixture
def cpu_library():
    """The CPU library, without which a test of it is skipped."""
    require_backend("cpu")


@pytest.fixture(params=[0, 1, 2], ids=["baseline", "avx2", "avx512"])
def level(request):
    """Each instruction set of the CPU library."""
    from pyramidflow.ops.libraries import cpu

    require_backend("cpu")
    if cpu.limit_level(request.param) != request.param:
        pytest.skip("this processor does not have the instruction set")
    yield request.param
    cpu.limit_level(2)


@pytest.fixture
def run(capsys):
    """Call the command line in this process: exit code, standard output, standard error."""
    from pyramidflow.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return call


@pytest.fixture
def image(tiny_set):
    """A good image."""
    return tiny_set / "test" / "good" / "000.png"


@pytest.fixture(scope="session")
def detector_file(tiny_detector_file, tmp_path_factory):
    """A detector that takes every image for good."""
    from pyramidflow import Detector

    detector = Detector.load(tiny_detector_file)
    detector.threshold *= 100
    path = tmp_path_factory.mktemp("lenient") / "plate.safetensors"
    detector.save(path)
    return path


@pytest.fixture
def arguments(detector_file, tmp_path):
    """Model and output folder, as the command line takes them."""
    return ("--model", detector_file, "--output", tmp_path / "out")
