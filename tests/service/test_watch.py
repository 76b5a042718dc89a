"""What the page knows of a running line."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pyramidflow.detector import Inspection, Region
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline.drawing import draw
from tests.line.records import record
from tests.service.served import TOKEN  # looks for the extra first

from pyramidflow.service import watch as watching  # isort: skip
from pyramidflow.service.previews import LONGEST_SIDE, full_overlay, previews  # isort: skip
from pyramidflow.service.watch import LAST_PARTS, Watch  # isort: skip

assert TOKEN


def inspection(height, width, at=None, verdict="ok"):
    values = np.zeros((height, width), np.float32)
    regions = ()
    if at is not None:
        values[at] = 9.0
        y, x = at
        regions = (Region((x, y, x + 1, y + 1), 1, 9.0, (x, y)),)
    return Inspection(1.0, 2.0, verdict, regions, values, pixel_threshold=2.0)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(watching, "monotonic", lambda: now[0])
    return now


def test_good_parts_are_drawn_twice_a_second(clock):
    watch, pixels = Watch(), np.zeros((8, 8, 3), np.uint8)

    def drawn(seconds, verdict="ok"):
        count = 0
        for _ in range(int(20 * seconds)):
            count += bool(watch.look(record(1), pixels, inspection(8, 8, None, verdict), 4.0))
            clock[0] += 0.05
        return count

    watch.listeners = 1
    assert 9 <= drawn(5) <= 11
    watch.listeners = 0  # nobody looks: one in five seconds, for the page that opens next
    assert 3 <= drawn(20) <= 5
    assert 90 <= drawn(10, "ng") <= 101
    watch.listeners = 1
    assert 9 <= drawn(5) <= 11


def test_a_heat_map_that_was_asked_for_is_drawn_whole_and_once(clock):
    watch, pixels = Watch(), np.zeros((8, 8, 3), np.uint8)
    one = record(1)
    watch.look(one, pixels, inspection(8, 8), 4.0)
    watch.ask_for_heat_map(one.station, one.identity)
    found = watch.look(one, pixels, inspection(8, 8), 4.0)
    assert Image.open(io.BytesIO(found["overlay"])).format == "PNG"
    assert watch.look(one, pixels, inspection(8, 8), 4.0) == {}


def test_parts_and_pictures_are_bounded(monkeypatch):
    monkeypatch.setattr(watching, "_MOST_PICTURE_BYTES", 1000)
    watch = Watch()
    for number in range(LAST_PARTS + 40):
        watch.shown(record(number), {"heat": b"x" * 100})
    assert len(watch.snapshot()["parts"]) == LAST_PARTS
    kept = [watch.picture("press", f"{n:05}.png", "heat") for n in range(LAST_PARTS + 40)]
    assert [picture is not None for picture in kept] == [False] * (LAST_PARTS + 30) + [True] * 10


def test_samples_close_what_came_since_the_last_one():
    watch = Watch()
    waiting = {"inspecting": 2, "writing": 1}
    status = {"stations": {"press": {"preparing": False, "waiting": waiting}}}
    for number, total in enumerate((10.0, 20.0, 60.0)):
        watch.shown(record(number, times={"total": total}), {})
    watch.shown(record(4, findings={}, error="broken"), {})
    watch.sample(status)
    watch.sample(status)
    first, second = (taken["stations"]["press"] for taken in watch.snapshot()["samples"])
    assert first == {
        "ok": 3,
        "review": 0,
        "ng": 0,
        "error": 1,
        "preparing": False,
        "waiting": 3,
        "median_ms": 20.0,
        "slowest_ms": 60.0,
    }
    assert (second["ok"], second["median_ms"]) == (0, None)


def test_events_go_on_where_a_listener_was():
    watch = Watch()
    watch.say("mark", {"good": True})
    watch.say("mark", {"good": False})
    assert [event.content["good"] for event in watch.since(1)] == [False]
    assert watch.since(2) == []
    assert watch.since(99) == []


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (640, 3), (641, 900), (1300, 40)])
def test_a_small_picture_keeps_a_small_defect(size):
    height, width = size
    at = (height - 1, width - 1)
    pixels = np.full((height, width, 3), 100, np.uint8)
    found = previews(pixels, inspection(height, width, at, "ng"), 4.0)
    plain, heat = (np.asarray(Image.open(io.BytesIO(found[kind]))) for kind in ("plain", "heat"))
    assert plain.shape == heat.shape
    assert max(plain.shape) <= LONGEST_SIDE
    assert abs(heat.astype(int) - plain)[-1, -1].max() > 20


def test_pictures_of_16_bits_are_drawn():
    found = previews(np.full((9, 9, 3), 40_000, np.uint16), inspection(9, 9), 4.0)
    assert Image.open(io.BytesIO(found["plain"])).size == (9, 9)


def test_the_page_shows_what_counts_as_the_kept_picture_does():
    pixels = np.full((2 * LONGEST_SIDE, 40, 3), 200, np.uint8)
    counted = np.ones((2, 2), bool)
    counted[0] = False  # the upper half
    found = replace(inspection(2 * LONGEST_SIDE, 40, (1000, 20), "ng"), counted=counted)
    kept = draw(["overlay"], Frame(pixels, "one"), pixels, found, 4.0).pictures["overlay"]
    assert full_overlay(pixels, found, 4.0) == kept
    heat = np.asarray(Image.open(io.BytesIO(previews(pixels, found, 4.0)["heat"]))).astype(int)
    assert np.abs(heat[100, 10] - 120).max() <= 3  # 0.6 of 200
    assert np.abs(heat[-20, 10] - 200).max() <= 3
