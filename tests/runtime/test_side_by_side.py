"""Several images at once on a CPU, beside one after the other."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pyramidflow import Detector
from pyramidflow.runtime import InspectionSettings
from pyramidflow.runtime.cpu import CpuRuntime, SideBySideRuntime, make, plan
from pyramidflow.runtime.cpu.side_by_side import lanes_of
from tests.support.backends import require_backend
from tests.support.runtime_cases import (
    contrast_of,
    full_contrast_of,
    pictures,
    trained,
    trained_network,
)

require_backend("cpu")

SIZE = (50, 70)
CASES = {
    "lift": {},
    "planned encoder": {"encoder": "resnet18", "stacks": 2},
    "three levels, maxima": {"levels": 3, "reduction": "max"},
}


def made(settings: dict, threads: int, contrast=contrast_of):
    network = trained_network(SIZE, **settings)
    subject = trained(network, contrast(network, SIZE))
    return subject, make(subject, SIZE, InspectionSettings(threads=threads))


@pytest.mark.parametrize("contrast", [contrast_of, full_contrast_of])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("threads", "lanes"), [(2, 2), (5, 4), (4, 4)])
def test_bits_are_those_of_one_image_alone(name, contrast, threads, lanes) -> None:
    subject, runtime = made(CASES[name], threads, contrast)
    assert isinstance(runtime, SideBySideRuntime)
    assert runtime.at_once == lanes
    images = pictures(lanes, SIZE)
    alone = CpuRuntime(subject, (1, *SIZE), runtime.plan, 1)
    expected = torch.cat([alone.inspect(image).clone() for image in images.split(1)])
    assert torch.equal(runtime.inspect(images), expected)
    assert torch.equal(runtime.inspect(images[:1]), expected[:1])
    if lanes == 4:
        assert torch.equal(runtime.inspect(images[:3]), expected[:3])


def test_images_are_on_their_way_at_the_same_time(monkeypatch) -> None:
    _, runtime = made({}, 2)
    meet, usual = threading.Barrier(2, timeout=20), CpuRuntime.inspect

    def inspect(self, images):
        meet.wait()  # breaks where one waits for the other's end
        return usual(self, images)

    monkeypatch.setattr(CpuRuntime, "inspect", inspect)
    assert runtime.inspect(pictures(2, SIZE)).isfinite().all()


def test_what_one_lane_raises_is_raised(monkeypatch) -> None:
    _, runtime = made({}, 2)
    monkeypatch.setattr(runtime._lanes[1], "inspect", lambda images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runtime.inspect(pictures(2, SIZE))


def test_weights_are_there_once() -> None:
    _, runtime = made({"encoder": "resnet18"}, 2)
    layers = [layer.name for layer in runtime.plan.layers]
    assert len(set(layers)) == len(layers)
    spectra = {p.spectra.data_ptr() for p in runtime._whole.spectra._made.values()}
    for lane in runtime._lanes:
        assert {p.spectra.data_ptr() for p in lane.spectra._made.values()} == spectra


def test_lanes_are_a_power_of_two_where_an_image_is_small() -> None:
    network = trained_network(SIZE)
    subject = trained(network, contrast_of(network, SIZE))
    small = plan(subject, SIZE)
    assert [lanes_of(small, threads) for threads in (1, 2, 3, 4, 7, 8, 64)] == [1, 2, 2, 4, 4, 8, 8]
    assert lanes_of(plan(subject, (2048, 2048)), 8) == 1
    assert lanes_of(plan(subject, SIZE, InspectionSettings(memory_budget=10**11)), 8) == 1
    assert isinstance(make(subject, SIZE, InspectionSettings(threads=1)), CpuRuntime)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the threads that Linux lists")
def test_lanes_and_who_waits_for_them_wake_no_further_threads(several_threads) -> None:
    size = (256, 256)  # of a map that PyTorch shares out among threads
    network = trained_network(size, channels=4, stacks=1)
    template = [torch.zeros(shape) for shape in network.latent_shapes(1, size)]
    detector = Detector.from_network(network, template, {"image_size": size})
    session = detector.prepare(threads=2)
    images = list(pictures(2, size).numpy())

    def more_threads() -> int:
        before = threads_alive()
        assert len(list(session.inspect_pixels(images))) == 2
        return threads_alive() - before

    with ThreadPoolExecutor(1) as another:
        assert another.submit(more_threads).result() == session.at_once
        assert another.submit(more_threads).result() == 0


def threads_alive() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture
def several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
