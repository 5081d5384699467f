"""Signals are held back, and do what they always did when the block has ended."""

import signal
import threading

import pytest

from tinyyolo3.train.interrupt import deferred_signals


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    told, after = [], []

    def interrupted() -> None:
        with deferred_signals(lambda: told.append(1)) as stopped:
            assert not stopped()
            signal.raise_signal(signal.SIGINT)
            after.append(stopped())

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (told, after) == ([1], [True])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_acts_at_once() -> None:
    after = []

    def interrupted_twice() -> None:
        with deferred_signals(lambda: None):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            after.append(1)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert not after


def test_a_termination_goes_to_whoever_asked_for_it() -> None:
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with deferred_signals(lambda: None) as stopped:
            signal.raise_signal(signal.SIGTERM)
            assert stopped()
            assert not received
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_without_a_signal_nothing_happens() -> None:
    with deferred_signals(lambda: None) as stopped:
        assert not stopped()


def test_another_thread_never_stops() -> None:
    found = []

    def work() -> None:
        with deferred_signals(lambda: None) as stopped:
            found.append(stopped())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
