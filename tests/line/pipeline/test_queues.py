"""Queues between stages: bounded, in order, and fair."""

import threading
import time

from pyramidflow.line.pipeline.queues import Room, StageQueue, Turn


def test_a_full_queue_holds_its_writer_up_until_there_is_room():
    queue = StageQueue(2)
    put = []

    def fill():
        for number in range(4):
            queue.put(number)
            put.append(number)

    writer = threading.Thread(target=fill)
    writer.start()
    time.sleep(0.1)
    assert put == [0, 1]
    assert [queue.get() for _ in range(4)] == [0, 1, 2, 3]
    writer.join(5)
    queue.close()
    assert queue.get() is None


def test_what_is_let_go_keeps_its_place_and_takes_no_room():
    queue, gone = StageQueue(2), []
    for number in range(5):
        assert queue.put_over(number, gone.__contains__, gone.append)
    assert gone == [0, 1, 2]
    queue.close()
    assert [queue.get() for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_a_closed_queue_lets_its_writer_go():
    queue = StageQueue(1)
    queue.put(1)
    answers = []
    writer = threading.Thread(target=lambda: answers.append(queue.put(2)))
    writer.start()
    queue.close()
    writer.join(5)
    assert answers == [False]
    assert queue.get() == 1
    assert queue.get() is None


def test_a_turn_is_had_in_the_order_of_asking():
    turn, order, threads = Turn(), [], []

    def ask(name):
        with turn.taken():
            order.append(name)

    with turn.taken():
        for name in range(5):
            threads.append(threading.Thread(target=ask, args=(name,)))
            threads[-1].start()
            time.sleep(0.05)
        order.append("first")
    for thread in threads:
        thread.join(5)
    assert order == ["first", 0, 1, 2, 3, 4]


def test_who_needs_memory_waits_until_some_is_given_back():
    room, passed = Room(10), threading.Event()
    room.take(10)

    def wait():
        room.wait()
        passed.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not passed.wait(0.1)
    room.give_back(1)
    assert passed.wait(5)
