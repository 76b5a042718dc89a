"""Trainings in several processes: what one process gives, and an end whatever happens."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from pyramidflow import Detector
from pyramidflow.errors import InputError, LostProcessError
from pyramidflow.io.tensors import load_tensors
from pyramidflow.model.frozen import CustomEncoder, Standardised
from pyramidflow.training.parallel import OneProcess, rounds, share
from pyramidflow.training.standardise import standardise
from pyramidflow.training.torchrun import Processes, own_device
from tests.support.command_line import posix
from tests.support.places import ROOT
from tests.support.tiny import TINY, write_image
from tests.training.several import CASES, fitted, outcome, stopped

pytestmark = [
    posix,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
        reason="needs a PyTorch with gloo",
    ),
]

FEW = ("pairs of samples", "pairs of batches", "without volume norm")
"""Cases with fewer images in a batch than three processes."""

PATIENCE = 300
"""Seconds after which something hangs."""


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """10 images, of which 7 are trained on: so few are not looked at for their poses."""
    root, rng = tmp_path_factory.mktemp("few"), np.random.default_rng(0)
    for index in range(10):
        write_image(root / f"{index:03}.png", rng)
    return root


class Share(OneProcess):
    def __init__(self, rank, world):
        self.rank, self.world = rank, world


@settings(deadline=None)  # the first one may wait for a busy machine
@given(st.integers(0, 20), st.integers(1, 7))
def test_shares_are_the_batch_one_behind_the_other(count, world):
    batch = list(range(count))
    parts = [share(batch, Share(rank, world)) for rank in range(world)]
    assert [index for part in parts for index in part] == batch
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 20), st.integers(1, 7))
def test_in_rounds_every_image_falls_to_one_process(count, world):
    found = [list(rounds(count, Share(rank, world))) for rank in range(world)]
    assert {len(turns) for turns in found} == {-(-count // world)}
    assert sorted(i for turns in found for i, _ in turns if i is not None) == list(range(count))
    assert all(sum(images for _, images in turns) == count for turns in found)
    if count:
        assert found[0][0][0] == 0


class Told(OneProcess):
    """Adds what another process had, and keeps what this one has."""

    def __init__(self, others=()):
        self.others, self.own = others, []

    def add(self, tensors):
        self.own = [x.clone() for x in tensors]
        for x, other in zip(tensors, self.others, strict=False):
            x += other


def test_channels_are_standardised_over_the_images_of_all_processes():
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(5)]
    network = CustomEncoder(torch.nn.Conv2d(3, 4, 1))
    alone, first, second = (Standardised(network, 4) for _ in range(3))
    standardise(alone, images)
    other = Told()
    standardise(first, images[:2], other)
    standardise(second, images[2:], Told(other.own))
    torch.testing.assert_close(second.mean, alone.mean)
    torch.testing.assert_close(second.std, alone.std)
    assert not torch.equal(first.mean, alone.mean)


def torchrun(world, *arguments):
    """Start processes as a user does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(world), "-m", *map(str, arguments)),
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process):
    """Exit code and what was said, once it ends by itself."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise AssertionError(f"it hangs: {process.communicate()[1]}") from None
    return process.returncode, out, err


@pytest.fixture(scope="module")
def by_two(few, tmp_path_factory):
    """What two processes give in each case, one of them stopped, one resumed."""
    out = tmp_path_factory.mktemp("two")
    stopped(few, out / "one.safetensors", 3)
    names = (*CASES, "read anew", "stopped", "resumed")
    code, _, err = ended(torchrun(2, "tests.training.several", "cases", few, out, *names))
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def by_three(few, tmp_path_factory):
    """Batches of one or two images for three processes."""
    out = tmp_path_factory.mktemp("three")
    code, _, err = ended(torchrun(3, "tests.training.several", "cases", few, out, *FEW))
    assert code == 0, err
    return out


def assert_alike(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        if value.numel():
            error = float((found[name].double() - value.double()).norm())
            assert error <= 1e-5 * float(value.double().norm()), (name, error)


def assert_as_alone(case, folder, few):
    """One process gives in a case what several left in a folder."""
    expected = outcome(fitted(few, **CASES.get(case, {})), few)
    assert_alike(load_file(folder / f"{case}.safetensors"), expected)


@pytest.mark.parametrize("case", [*CASES, "read anew"])
def test_two_processes_give_what_one_gives(few, by_two, case):
    """Also where each has others that read its images."""
    assert_as_alone(case, by_two, few)


@pytest.mark.parametrize("case", FEW)
def test_processes_without_an_image_change_nothing(few, by_three, case):
    assert_as_alone(case, by_three, few)


def test_a_training_goes_on_in_another_number_of_processes(few, by_two):
    expected = outcome(fitted(few), few)
    assert_alike(load_file(by_two / "resumed.safetensors"), expected)
    header, _ = load_tensors(by_two / "stopped.safetensors", "checkpoint")
    assert (header["position"]["epoch"], header["position"]["step"]) == (1, 1)
    after = fitted(few, checkpoint=by_two / "stopped.safetensors", resume=True)
    assert_alike(outcome(after, few), expected)


def command(few, output, *more):
    settings = {**TINY, "image_size": 16, "validation_share": 0.3, "device": "cpu"}
    options = [word for k, v in settings.items() for word in (f"--{k.replace('_', '-')}", v)]
    return ("train", few, "--output", output, *options, *more)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raises", "RuntimeError: the third step went wrong"),
        ("is killed", "another process of this training has ended or does not answer"),
        (
            "is killed, and the other is stopped",
            "another process of this training has ended or does not answer",
        ),
        ("hangs", "another process of this training has ended or does not answer"),
    ],
)
def test_a_process_that_fails_ends_all_with_one_sentence(few, tmp_path, how, sentence):
    output = tmp_path / "part.safetensors"
    started = time.monotonic()
    process = torchrun(2, "tests.training.several", "fails", how, *command(few, output))
    code, out, err = ended(process)
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code != 0
    assert time.monotonic() - started < PATIENCE
    assert len(said) == 1, err
    assert sentence in said[0]
    assert "Traceback (most recent call last)" not in err.partition(said[0])[0]
    assert out == ""
    assert not output.exists()


def test_ctrl_c_leaves_a_checkpoint_that_other_processes_go_on_from(few, tmp_path):
    output = tmp_path / "part.safetensors"
    checkpoint = tmp_path / "part.checkpoint.safetensors"
    process = torchrun(2, "pyramidflow", *command(few, output, "--epochs", 100_000))
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, out, err = ended(process)
    assert err.count("interrupted: stopped at epoch") == 1
    assert out == ""
    header, _ = load_tensors(checkpoint, "checkpoint")
    epochs = header["position"]["epoch"] + 1

    code, out, err = ended(
        torchrun(2, "pyramidflow", *command(few, output, "--epochs", epochs, "--resume"))
    )
    assert code == 0, err
    assert out.count("threshold") == 1
    assert "warning" not in err or err.count("warning: ") == 1
    found = Detector.load(output, device="cpu")
    alone = Detector(16, device="cpu", **TINY, epochs=epochs, validation_share=0.3)
    alone.fit(few, show_progress=False)
    assert_alike(outcome(found, few), outcome(alone, few))


def test_others_are_told_what_the_first_process_finds():
    store = torch.distributed.HashStore()
    first, second = (Processes(rank, 2, store) for rank in range(2))
    for text in ("size 32", "size 64"):
        assert first.told(lambda text=text: text) == text
        assert second.told(lambda: pytest.fail("it is asked, too")) == text


def test_one_of_those_that_fail_says_why():
    store = torch.distributed.HashStore()
    first, second = (Processes(rank, 2, store) for rank in range(2))
    assert second.fails_first()
    assert not first.fails_first()
    with pytest.raises(LostProcessError, match="has ended or does not answer"):
        second.told(str)


@pytest.fixture
def started_by_torchrun(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")


def test_each_process_has_a_gpu_of_its_own(started_by_torchrun, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device("auto") == own_device("cuda") == "cuda:1"
    assert own_device("cpu") == "cpu"
    with pytest.raises(InputError, match="'cuda:0', but 2 processes train together"):
        own_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="2 processes were started on a machine with 1 GPUs"):
        own_device("auto")
    monkeypatch.delenv("MASTER_PORT")  # a scheduler may tell how many jobs there are
    assert own_device("cuda:0") == "cuda:0"
