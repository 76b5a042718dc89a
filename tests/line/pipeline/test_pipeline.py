"""The stages and their queues, with a session that answers at once."""

import threading
import time

import numpy as np
import pytest

from pyramidflow.data import Decoding
from pyramidflow.detector.findings import Inspection, StageTimes
from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline import part as stages
from pyramidflow.line.pipeline import pipeline as pipelines
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.pipeline.pipeline import Flow, Pipeline


class Session:
    """Says of each picture that it is good, with its first pixel as the score."""

    map_scale = 1.0

    def __init__(self, device="cpu", seconds=0.0, broken=None):
        self.broken = broken
        self.at_once = 8 if device == "cuda" else 1
        self.decoding = Decoding()
        self.seconds = seconds
        self.batches = []

    def inspect_pixels(self, pixels):
        pixels = list(pixels)
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        for each in pixels:
            score = float(each[0, 0, 0])
            if score == self.broken:
                raise InputError("the score is nan")
            yield Inspection(score, 200.0, "ok", (), None, times=StageTimes(1, 0, 1))


def frames(count, size=4):
    for number in range(count):
        yield Frame(np.full((size, size, 3), number, np.uint8), str(number), identity=str(number))


def run(session, source, flow=None, kinds=()):
    pipeline = Pipeline(lambda: Inspector(session), lambda part: kinds, flow)
    return pipeline, [part for parts in pipeline.run(source) for part in parts]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_parts_come_in_the_order_of_their_frames(monkeypatch, workers):
    usual = stages.decode

    def uneven(part, decoding):
        time.sleep(0.02 * (int(part.frame.name) % 3 == 0))
        usual(part, decoding)

    monkeypatch.setattr(stages, "decode", uneven)
    _, found = run(Session(), frames(30), Flow(workers=workers))
    assert [part.inspection.score for part in found] == list(range(30))
    assert all(part.pixels is None for part in found)


def test_threads_have_ended_and_let_go_of_their_parts_when_the_last_part_is_given(monkeypatch):
    started, usual = [], pipelines._start

    def start(*given):
        started.append(usual(*given))
        return started[-1]

    monkeypatch.setattr(pipelines, "_start", start)
    for _ in range(20):
        run(Session(), frames(3), Flow(workers=3))
        assert len(started) == 8
        started.pop().join()  # the source's, which holds no part
        assert not any(thread.is_alive() for thread in started)
        started.clear()


def test_what_waits_forms_a_batch_on_a_gpu_and_not_on_a_cpu():
    gpu, cpu = Session("cuda", 0.05), Session("cpu", 0.01)
    _, found = run(gpu, frames(40), Flow(waiting=20))
    assert [part.inspection.score for part in found] == list(range(40))
    assert set(gpu.batches) <= {1, 2, 4, 8}
    assert 8 in gpu.batches
    run(cpu, frames(10))
    assert set(cpu.batches) == {1}


def test_one_bad_picture_of_a_batch_spoils_no_other():
    _, found = run(Session("cuda", 0.05, broken=13), frames(20), Flow(waiting=20))
    problems = {part.frame.name: part.problem for part in found if part.problem}
    assert list(problems) == ["13"]
    assert "13: the score is nan" in str(problems["13"])
    assert [part.inspection.score for part in found if part.inspection] == [
        score for score in range(20) if score != 13
    ]


def test_a_source_that_fails_ends_the_line_after_what_it_gave():
    def failing():
        yield from frames(3)
        raise InputError("the disk is gone")

    pipeline = Pipeline(lambda: Inspector(Session()), lambda part: ())
    found = []
    with pytest.raises(InputError, match="the disk is gone"):
        found.extend(len(parts) for parts in pipeline.run(failing()))
    assert sum(found) == 3


def test_a_stop_gives_back_what_was_inspected_and_takes_no_more():
    session, stop = Session(seconds=0.01), threading.Event()
    pipeline = Pipeline(lambda: Inspector(session), lambda part: ())
    found = []
    for parts in pipeline.run(frames(1000), stop.is_set):
        found += parts
        if len(found) >= 5:
            stop.set()
    assert pipeline.is_stopped
    assert 5 <= len(found) == sum(session.batches) < 1000


def test_no_more_pictures_are_decoded_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(pipelines, "ROOM_FOR_PICTURES", 3 * 300 * 300 * 3)
    decoded, most = [0], [0]
    guard = threading.Lock()
    usual = stages.decode

    def counted(part, decoding):
        usual(part, decoding)
        with guard:
            decoded[0] += 1
            most[0] = max(most[0], decoded[0])

    monkeypatch.setattr(stages, "decode", counted)
    pipeline = Pipeline(
        lambda: Inspector(Session(seconds=0.02)), lambda part: (), Flow(waiting=50, workers=2)
    )
    for parts in pipeline.run(frames(60, size=300)):
        with guard:
            decoded[0] -= len(parts)
    assert 2 <= most[0] <= 3 + 2 + 2  # in the room, in the workers' hands, on the way out


def test_a_consumer_that_breaks_off_leaves_no_thread_behind():
    before = threading.active_count()
    pipeline = Pipeline(lambda: Inspector(Session()), lambda part: ())
    running = pipeline.run(frames(500))
    next(running)
    running.close()
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.02)
    assert threading.active_count() <= before
