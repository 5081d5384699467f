"""Reading a list of pictures while the network is busy with those before.

Decoding a photograph takes longer than a small network takes to look at it, and Pillow's decoders
release the interpreter's lock. So the pictures of the next batch are read by threads of their own
while the caller works on this one: no further ahead than that, so memory stays bounded. A caller
that comes before its batch is ready reads with them rather than wait. Pictures and errors
come in the order of the list, as if each batch were read when it is asked for.
"""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tinyyolo3.image.files import ImageSource
from tinyyolo3.parallel import thread_count

Picture = TypeVar("Picture")

#: What can be read beside the caller: it is decoded from bytes that are nobody else's. A Pillow
#: image decodes itself when it is first used, on behalf of all who hold it, and is not made for
#: two threads; an array needs no reading.
INDEPENDENT = (str, os.PathLike, bytes, bytearray, memoryview)


def read_batches(
    sources: Sequence[ImageSource], read: Callable[[ImageSource], Picture], batch: int
) -> Generator[list[Picture]]:
    """Read pictures batch by batch, the next one in the background.

    As many threads read as `thread_count` allows, the caller among them; with one, all is read in
    the caller when it is asked for. Close the iterator to be sure that its threads have ended;
    running out and errors end them too.

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
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tinyyolo3-read")
    try:
        following = _submit(pool, read, batches[0])
        for index, some in enumerate(batches):
            begun = following
            if index + 1 < len(batches):
                following = _submit(pool, read, batches[index + 1])
            yield _finish(begun, read, some)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ThreadPoolExecutor, read: Callable[[ImageSource], Picture], sources: Sequence[ImageSource]
) -> list[Future[Picture]]:
    """Have the pool read what it may; the rest waits, as if it had been begun, for the caller."""
    return [
        pool.submit(read, source) if isinstance(source, INDEPENDENT) else Future()
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
