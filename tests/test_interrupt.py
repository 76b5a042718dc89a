"""What a process does with the signals that ask it to stop."""

import signal
import threading

import pytest

from pyramidflow.interrupt import (
    Interrupted,
    StopRequest,
    answering,
    checkpoint,
    termination_as_ctrl_c,
    unless,
)


@pytest.mark.parametrize("number", StopRequest.SIGNALS)
def test_the_first_request_is_noted_and_the_second_interrupts(number, capfd):
    before = signal.getsignal(number)
    with StopRequest("image") as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("stopping after this image") == 1


@pytest.mark.parametrize("context", [StopRequest, termination_as_ctrl_c])
def test_an_ignored_signal_stays_ignored(context):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with context():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_termination_is_a_ctrl_c_inside_alone():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), termination_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_answers_go_back_to_those_before_behind_an_error():
    seen = []
    before = signal.getsignal(signal.SIGTERM)

    def fail(number, frame):
        seen.append(number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), answering({signal.SIGTERM: fail}):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_beside_the_main_thread_nothing_changes():
    before, found = signal.getsignal(signal.SIGTERM), []

    def look():
        with answering({signal.SIGTERM: lambda *_: None}):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


def test_work_ends_at_a_checkpoint_once_nobody_wants_it_in_its_own_thread_alone():
    is_unwanted, found = threading.Event(), []
    checkpoint()
    with unless(is_unwanted.is_set):
        checkpoint()
        is_unwanted.set()
        with unless(lambda: False):
            checkpoint()
        with pytest.raises(Interrupted):
            checkpoint()
        other = threading.Thread(target=lambda: found.append(checkpoint()))
        other.start()
        other.join()
    checkpoint()
    assert found == [None]
