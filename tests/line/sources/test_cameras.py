"""Cameras and videos: OpenCV's interface and GenICam's, by stand-ins; videos for real."""

import sys
import threading
import time
import types
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from itertools import pairwise

import numpy as np
import pytest

from pyramidflow.errors import InputError
from pyramidflow.line.sources.camera import CameraSource
from pyramidflow.line.sources.genicam import GenicamSource, pixels_of_component
from pyramidflow.line.sources.video import VideoSource

cv2 = pytest.importorskip("cv2", reason="needs OpenCV, of the extra line")


@pytest.fixture
def video(tmp_path):
    """Five frames, each of its own grey, with a red left half in the last."""
    path = tmp_path / "parts.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(5):
        picture = np.full((48, 64, 3), 40 * number, np.uint8)
        if number == 4:
            picture[:, :32] = (0, 0, 255)
        writer.write(picture)
    writer.release()
    return path


def frames_of(kind, most=100, **settings):
    source = kind(kind.Settings(**settings), "press", None)
    found = []
    for frame in source.frames(threading.Event()):
        found.append(frame)
        if len(found) == most:
            break
    return found


def test_a_video_gives_its_frames_in_order_with_red_first(video):
    found = frames_of(VideoSource, path=video)
    assert [frame.metadata["frame"] for frame in found] == [0, 1, 2, 3, 4]
    assert [int(frame.payload[40, 60].mean().round(-1)) for frame in found] == [0, 40, 80, 120, 160]
    red, green, blue = found[4].payload[24, 10].astype(int)
    assert red > 200
    assert max(green, blue) < 60
    assert len({frame.identity for frame in found}) == 5
    assert [f.identity for f in frames_of(VideoSource, path=video)] == [f.identity for f in found]
    assert [f.metadata["frame"] for f in frames_of(VideoSource, path=video, every=2)] == [0, 2, 4]


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "x.avi").write_bytes(b"x" * 100)
    for name in ("x.avi", "missing.avi"):
        with pytest.raises(InputError, match="is no video"):
            frames_of(VideoSource, path=tmp_path / name)


def test_an_ip_camera_is_opened_again_and_its_password_stays_out_of_records(video, monkeypatch):
    opened = []
    usual = cv2.VideoCapture

    def open_stream(device, *more):
        opened.append(device)
        return usual(str(video))

    monkeypatch.setattr(cv2, "VideoCapture", open_stream)
    source = CameraSource(CameraSource.Settings(device="rtsp://me:secret@host/1"), "press", None)
    stop, found = threading.Event(), []
    for frame in source.frames(stop):
        found.append(frame)
        if len(opened) >= 3:
            break
    stop.set()
    assert opened[0] == "rtsp://me:secret@host/1"
    assert {frame.source for frame in found} == {"rtsp://host/1"}
    assert all("secret" not in str(frame) for frame in found[:1])
    assert source.status()["reconnects"] >= 2
    assert len({frame.identity for frame in found}) == len(found)
    assert not any(source.can_come_again(frame.identity) for frame in found)


class UsbCamera:
    """A camera that gives numbered pictures, faster than anybody looks."""

    def __init__(self, device):
        self.number = 0

    def isOpened(self):
        return True

    def set(self, name, value):
        return True

    def read(self):
        time.sleep(0.002)
        self.number += 1
        return True, np.full((4, 4, 3), self.number % 256, np.uint8)

    def release(self):
        pass


def test_a_camera_gives_the_newest_picture_and_counts_what_nobody_looked_at(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", UsbCamera)
    source = CameraSource(CameraSource.Settings(device=0, width=640), "press", None)
    stop, found = threading.Event(), []
    for frame in source.frames(stop):
        found.append(frame)
        time.sleep(0.1)
        if len(found) == 5:
            break
    stop.set()
    numbers = [frame.metadata["number"] for frame in found]
    missed = [frame.metadata["missed"] for frame in found]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 50
    assert [b - a - 1 for a, b in pairwise(numbers)] == missed[1:]
    assert source.status()["connected"]


def test_a_usb_camera_that_is_unplugged_is_waited_for(monkeypatch, caplog):
    """It is not there at first, then gives pictures, is unplugged, cannot be opened, comes back."""
    opened = []

    class Unplugged(UsbCamera):
        def __init__(self, device):
            super().__init__(device)
            opened.append(self)
            if len(opened) == 4:
                raise RuntimeError("the driver is confused")

        def isOpened(self):
            return len(opened) not in (1, 3)

        def read(self):
            if self is opened[1] and self.number == 3:
                return False, None
            return super().read()

    monkeypatch.setattr(cv2, "VideoCapture", Unplugged)
    monkeypatch.setattr("pyramidflow.line.sources.camera._LONGEST_WAIT", 0.05)
    settings = CameraSource.Settings(device=0, timeout_seconds=0.2)
    source = CameraSource(settings, "press", None)
    stop, found, away = threading.Event(), [], False
    with caplog.at_level("INFO"):
        for frame in source.frames(stop):
            found.append((len(opened), frame))
            away = away or not source.status()["connected"]
            if len(opened) == 5 and len(found) > 3:
                break
    stop.set()
    assert {number for number, _ in found} <= {2, 3, 4, 5}
    assert found[-1][0] == 5
    assert source.status()["reconnects"] == 4
    assert len({frame.identity for _, frame in found}) == len(found)
    said = [record.message for record in caplog.records]
    assert said[0] == "press: the camera 0 is not there: trying again"
    assert said.count("press: the camera 0 is there") == 2
    assert "press: 0: the driver is confused" in said


class Harvester:
    """The part of harvesters' interface that is used: one camera that is unplugged once."""

    plugged = (True, False, True)

    def __init__(self):
        self.opened = 0
        self.nodes = types.SimpleNamespace(
            TriggerMode=types.SimpleNamespace(value="Off"),
            ChunkCounterValue=types.SimpleNamespace(value=0),
        )

    def add_file(self, path, check_existence=False):
        if check_existence and "missing" in path:
            raise FileNotFoundError(path)

    def update(self):
        pass

    def create(self, search_key=None):
        self.opened += 1
        if not self.plugged[min(self.opened, 3) - 1]:
            raise RuntimeError("no device")
        self.acquirer = Acquirer(self)
        return self.acquirer

    def reset(self):
        pass


class TimeoutException(Exception):  # noqa: N818 - the name in harvesters
    """Nothing came in time."""


class Acquirer:
    data_format = "Mono8"

    def __init__(self, harvester):
        self.remote_device = types.SimpleNamespace(node_map=harvester.nodes)
        self.fetched = 0
        self.is_destroyed = False

    def start(self):
        pass

    stop = start

    def destroy(self):
        self.is_destroyed = True

    @contextmanager
    def fetch(self, timeout=0):
        self.fetched += 1
        nodes = self.remote_device.node_map
        if self.fetched == 2:
            raise TimeoutException
        if self.fetched == 4:
            raise RuntimeError("unplugged")
        nodes.ChunkCounterValue.value += 1
        component = types.SimpleNamespace(
            width=3, height=2, data_format=self.data_format, data=np.arange(6, dtype=np.uint8)
        )
        yield types.SimpleNamespace(
            frame_id=self.fetched,
            timestamp=1,
            payload=types.SimpleNamespace(components=[component]),
        )
        component.data[:] = 0  # the buffer goes back to the camera


@pytest.fixture
def harvesters(monkeypatch):
    core = types.ModuleType("harvesters.core")
    package = types.ModuleType("harvesters")
    package.__spec__ = ModuleSpec("harvesters", None)
    core.Harvester, core.TimeoutException = Harvester, TimeoutException
    monkeypatch.setitem(sys.modules, "harvesters", package)
    monkeypatch.setitem(sys.modules, "harvesters.core", core)


def test_a_genicam_camera_keeps_its_triggers_identity_through_an_unplugging(harvesters, tmp_path):
    found = frames_of(
        GenicamSource,
        most=4,
        producer=tmp_path / "vendor.cti",
        features={"TriggerMode": "On"},
        identity_chunk="ChunkCounterValue",
    )
    assert [frame.identity for frame in found] == ["1", "2", "3", "4"]
    assert found[0].payload.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found[3].metadata["ChunkCounterValue"] == 4


def test_identities_of_a_genicam_camera_come_again_where_its_chunk_data_say_them(
    harvesters, tmp_path
):
    def source(**settings):
        known = GenicamSource.Settings(producer=tmp_path / "vendor.cti", **settings)
        return GenicamSource(known, "press", None)

    (tmp_path / "vendor.cti").touch()
    assert source(identity_chunk="ChunkCounterValue").can_come_again("1")
    assert not source().can_come_again("1")


def test_a_genicam_cameras_own_numbers_start_anew_and_identities_do_not(harvesters, tmp_path):
    found = frames_of(GenicamSource, most=4, producer=tmp_path / "vendor.cti")
    assert [frame.metadata["frame"] for frame in found] == [1, 3, 1, 3]
    assert len({frame.identity for frame in found}) == 4


def test_chunk_data_that_are_no_json_become_text(harvesters, monkeypatch, tmp_path):
    usual = Harvester.__init__

    def with_gain(harvester):
        usual(harvester)
        harvester.nodes.ChunkGain = types.SimpleNamespace(value=float("nan"))

    monkeypatch.setattr(Harvester, "__init__", with_gain)
    producer = tmp_path / "vendor.cti"
    [frame] = frames_of(GenicamSource, most=1, producer=producer, chunks=["ChunkGain"])
    assert frame.metadata["ChunkGain"] == "nan"


def test_a_pixel_format_that_is_not_known_ends_the_source(harvesters, monkeypatch, tmp_path):
    monkeypatch.setattr(Acquirer, "data_format", "Mono12Packed")
    with pytest.raises(InputError, match="PixelFormat"):
        frames_of(GenicamSource, producer=tmp_path / "vendor.cti")


def test_a_genicam_camera_that_goes_at_once_is_not_opened_without_a_pause(
    harvesters, monkeypatch, tmp_path
):
    def is_away(acquirer, timeout=0):
        raise RuntimeError("unplugged")

    monkeypatch.setattr(Acquirer, "fetch", is_away)
    monkeypatch.setattr(Harvester, "plugged", (True, True, True))
    settings = GenicamSource.Settings(producer=tmp_path / "vendor.cti")
    source, stop = GenicamSource(settings, "press", None), threading.Event()
    reader = threading.Thread(target=lambda: list(source.frames(stop)), daemon=True)
    reader.start()
    time.sleep(1)
    opened = source._harvester.opened
    stop.set()
    reader.join(10)
    assert 1 <= opened <= 3
    assert not reader.is_alive()


def test_a_camera_that_lacks_a_feature_is_let_go(harvesters, tmp_path, caplog):
    settings = GenicamSource.Settings(producer=tmp_path / "vendor.cti", features={"Gamma": 1.0})
    source, stop = GenicamSource(settings, "press", None), threading.Event()
    reader = threading.Thread(target=lambda: list(source.frames(stop)), daemon=True)
    reader.start()
    time.sleep(0.2)
    stop.set()
    reader.join(10)
    assert source._harvester.acquirer.is_destroyed
    assert not source.status()["connected"]
    assert "Gamma" in caplog.text


def test_a_producer_that_is_not_there_is_refused_by_its_key(harvesters, tmp_path):
    with pytest.raises(InputError, match=r"source\.producer is .*missing\.cti"):
        frames_of(GenicamSource, producer=tmp_path / "missing.cti")


def component(name, values, shape):
    return types.SimpleNamespace(
        data_format=name, data=np.array(values), height=shape[0], width=shape[1]
    )


def test_genicam_formats_become_red_green_blue():
    bgr = component("BGR8", [1, 2, 3, 4, 5, 6], (1, 2))
    assert pixels_of_component(bgr).tolist() == [[[3, 2, 1], [6, 5, 4]]]
    twelve = component("Mono12", [0, 4095, 2048], (1, 3))
    assert pixels_of_component(twelve).tolist() == [[0, 65535, 32776]]
    # A red scene: of a pattern that starts with red, every second pixel of even rows is lit.
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[::2, ::2] = 200
    red = pixels_of_component(component("BayerRG8", mosaic.ravel(), (8, 8)))[4, 4]
    assert red.tolist() == [200, 0, 0]
    with pytest.raises(InputError, match="PixelFormat"):
        pixels_of_component(component("Mono12Packed", [0], (1, 1)))
