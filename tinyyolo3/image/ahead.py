"""Reading a list of pictures while the network is busy with those before.

Decoding a photograph takes longer than a small network takes to look at it, and Pillow's decoders
release the interpreter's lock. So the pictures of the next batch are read by threads of their own
while the caller works on this one: no further ahead than that, so memory stays bounded. A caller
that comes before its batch is ready reads with them rather than wait. Pictures and errors
come in the order of the list, as if each batch were read when it is asked for.
"""

import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from tinyyolo3.image.files import ImageSource
from tinyyolo3.parallel import thread_count

Picture = TypeVar("Picture")

#: What can be read beside the caller: it is decoded from bytes that are nobody else's. A Pillow
#: image decodes itself when it is first used, on behalf of all who hold it, and is not made for
#: two threads; an array needs no reading.
INDEPENDENT = (str, os.PathLike, bytes, bytearray, memoryview)


#: Seconds that closing waits for pictures under way. What blocks for longer (a pipe that nobody
#: fills, a network share) must not keep an interrupted program from ending.
PATIENCE_S = 1.0


class Readers(Generic[Picture]):
    """Threads that read, and do not outlive the program.

    An executor's threads would: Python waits for them at its end, however long a read blocks.
    """

    def __init__(self, read: Callable[[ImageSource], Picture], threads: int) -> None:
        self._read = read
        self._queue: SimpleQueue[tuple[Future[Picture], ImageSource] | None] = SimpleQueue()
        self._pending: list[Future[Picture]] = []
        self._threads = [
            Thread(target=self._work, name=f"tinyyolo3-read-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, source: ImageSource) -> Future[Picture]:
        """Have a picture read."""
        future: Future[Picture] = Future()
        self._pending = [other for other in self._pending if not other.done()] + [future]
        self._queue.put((future, source))
        return future

    def close(self) -> None:
        """Read no more, and wait a moment for what is under way."""
        for future in self._pending:
            future.cancel()
        for _ in self._threads:
            self._queue.put(None)
        end = time.monotonic() + PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            future, source = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._read(source))
                except BaseException as error:  # raised where the picture is asked for
                    future.set_exception(error)


def read_batches(
    sources: Sequence[ImageSource], read: Callable[[ImageSource], Picture], batch: int
) -> Generator[list[Picture]]:
    """Read pictures batch by batch, the next one in the background.

    As many threads read as `thread_count` allows, the caller among them; with one, all is read in
    the caller when it is asked for. Close the iterator to have its threads end; running out and
    errors end them too.

    Args:
        sources: the pictures.
        read: reads one; called once for each source at most.
        batch: how many pictures to a batch; the last may be smaller.

    Yields:
        What `read` returned for the pictures of each batch.

    Raises:
        Exception: what `read` raised first, in the order of `sources`.
    """
    batches = [sources[first : first + batch] for first in range(0, len(sources), batch)]
    threads = thread_count() - 1
    if threads == 0 or sum(isinstance(source, INDEPENDENT) for source in sources) < 2:
        for some in batches:
            yield [read(source) for source in some]
        return
    readers = Readers(read, threads)
    try:
        following = _submit(readers, batches[0])
        for index, some in enumerate(batches):
            begun = following
            if index + 1 < len(batches):
                following = _submit(readers, batches[index + 1])
            yield _finish(begun, read, some)
    finally:
        readers.close()


def _submit(readers: Readers[Picture], sources: Sequence[ImageSource]) -> list[Future[Picture]]:
    """Have the threads read what they may; the rest waits, as if begun, for the caller."""
    return [
        readers.submit(source) if isinstance(source, INDEPENDENT) else Future()
        for source in sources
    ]


def _finish(
    begun: Sequence[Future[Picture]],
    read: Callable[[ImageSource], Picture],
    sources: Sequence[ImageSource],
) -> list[Picture]:
    """Read what no thread has begun to, wait for the rest, and return it all in order."""
    own: dict[int, Future[Picture]] = {}
    for index, (future, source) in enumerate(zip(begun, sources, strict=True)):
        if future.cancel():
            own[index] = Future()
            try:
                own[index].set_result(read(source))
            except Exception as error:  # raised below, in its turn
                own[index].set_exception(error)
                break
    return [own.get(index, future).result() for index, future in enumerate(begun)]
