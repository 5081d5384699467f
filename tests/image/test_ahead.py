"""Reading ahead: the next batch and no more, in order, on no more threads than allowed."""

import threading
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from tinyyolo3.image.ahead import read_batches
from tinyyolo3.parallel import thread_limit

#: Long enough for any machine; reached only by a test that fails.
PATIENCE = 30


class Reader:
    """Reads numbers out of names, and keeps which it has read, where, and what it holds back."""

    def __init__(self) -> None:
        self.done = {}
        self.held = {}
        self.lock = threading.Condition()

    def __call__(self, source):
        if source in self.held:
            assert self.held[source].wait(PATIENCE)
        with self.lock:
            assert source not in self.done, "read twice"
            self.done[source] = threading.current_thread()
            self.lock.notify_all()
        if source.startswith("bad"):
            raise ValueError(source)
        return source.upper()

    def wait_for(self, *sources) -> bool:
        with self.lock:
            return self.lock.wait_for(lambda: set(sources) <= set(self.done), PATIENCE)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def reading_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("tinyyolo3-read")]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 3, 7, 9])
def test_batches_come_in_order_each_picture_read_once(reader, threads, batch):
    names = [f"p{i}" for i in range(7)]
    with thread_limit(threads):
        batches = list(read_batches(names, reader, batch))
    assert [picture for some in batches for picture in some] == [n.upper() for n in names]
    assert [len(some) for some in batches] == [
        min(batch, 7 - first) for first in range(0, 7, batch)
    ]
    assert not reading_threads()


def test_the_next_batch_is_read_while_the_caller_is_busy_with_this_one_and_none_beyond(reader):
    names = [f"p{i}" for i in range(6)]
    with thread_limit(2), closing(read_batches(names, reader, 2)) as batches:
        assert next(batches) == ["P0", "P1"]
        assert reader.wait_for("p2", "p3")  # nobody has asked for them yet
        assert {reader.done["p2"], reader.done["p3"]}.isdisjoint({threading.current_thread()})
        assert not {"p4", "p5"} & set(reader.done)
        assert next(batches) == ["P2", "P3"]
        assert reader.wait_for("p4", "p5")


def test_a_caller_that_would_wait_reads_with_the_threads(reader):
    reader.held["p0"] = threading.Event()
    names = ["p0", "p1", "p2"]

    def read(source):
        if source == "p2":
            reader.held["p0"].set()  # the caller has got here past a picture that is not ready
        return reader(source)

    with thread_limit(2):
        assert list(read_batches(names, read, 3)) == [["P0", "P1", "P2"]]


@pytest.mark.parametrize("threads", [1, 2])
def test_of_several_errors_the_first_in_the_list_is_raised_when_its_batch_is_due(reader, threads):
    names = ["p0", "p1", "p2", "bad3", "bad4", "p5", "p6"]
    with thread_limit(threads):
        batches = read_batches(names, reader, 2)
        assert next(batches) == ["P0", "P1"]
        with pytest.raises(ValueError, match="bad3"):
            next(batches)
    assert not reading_threads()
    assert list(batches) == []


def test_an_error_of_a_slow_thread_goes_before_a_later_one_of_the_caller(reader):
    reader.held["bad0"] = threading.Event()

    def read(source):
        if source == "bad1":
            reader.held["bad0"].set()
        return reader(source)

    with thread_limit(2), pytest.raises(ValueError, match="bad0"):
        list(read_batches(["bad0", "bad1"], read, 2))


def test_closing_early_reads_nothing_more_and_ends_the_threads(reader):
    names = [f"p{i}" for i in range(40)]
    reader.held = {name: threading.Event() for name in names[3:]}
    with thread_limit(3):
        batches = read_batches(names, reader, 1)
        next(batches)
        next(batches)
        next(batches)
    reader.held["p3"].set()  # the one picture that may be under way
    batches.close()
    assert not reading_threads()
    assert set(reader.done) <= set(names[:4])


def test_closing_does_not_wait_for_a_picture_that_never_comes(reader, monkeypatch):
    monkeypatch.setattr("tinyyolo3.image.ahead.PATIENCE_S", 0.05)
    names = ["p0", "p1", "p2"]
    reader.held["p2"] = threading.Event()
    with thread_limit(2):
        batches = read_batches(names, reader, 1)
        next(batches)
        next(batches)
    assert all(thread.daemon for thread in reading_threads())
    batches.close()
    reader.held["p2"].set()


def test_one_thread_reads_in_the_caller_when_asked(reader):
    with thread_limit(1):
        batches = read_batches(["p0", "p1", "p2"], reader, 2)
        next(batches)
    assert set(reader.done) == {"p0", "p1"}
    assert set(reader.done.values()) == {threading.current_thread()}


@pytest.mark.parametrize("own", [Image.new("RGB", (1, 1)), np.zeros((1, 1, 3), np.uint8)])
def test_pillow_images_and_arrays_are_left_to_the_caller(own):
    where = {}
    last_is_read = threading.Event()

    def read(source):
        where[id(source)] = threading.current_thread()
        if source is sources[-1]:
            last_is_read.set()

    sources = ["a", "b", own, "c"]
    with thread_limit(2), closing(read_batches(sources, read, 2)) as batches:
        next(batches)
        assert last_is_read.wait(PATIENCE)  # by a thread that came past the caller's own
        assert id(own) not in where
        next(batches)
    assert where[id(own)] is threading.current_thread()


def test_no_thread_is_started_for_one_picture_or_for_arrays():
    for sources in (["p0"], [np.zeros(1), np.zeros(1)]):
        with thread_limit(2):
            for _ in read_batches(sources, lambda source: source, 1):
                assert not reading_threads()
