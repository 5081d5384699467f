"""The batch of each iteration.

Everything random depends on the seed, the iteration and the position in the batch alone: not on how
many processes work, nor on what was asked for before. So training that goes on from a checkpoint
sees the batches that it would have seen.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.data.samples import Sample
from tinyyolo3.errors import DataError, InputError
from tinyyolo3.network.graph import Graph
from tinyyolo3.parallel import available_cores
from tinyyolo3.train.augmentation import PictureOptions, read_picture_options
from tinyyolo3.train.colours import Colours
from tinyyolo3.train.composition import Order, compose_picture
from tinyyolo3.train.crop import Crop
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.mosaic import TILES
from tinyyolo3.train.options import read_training_options
from tinyyolo3.train.picture import place_picture_numba
from tinyyolo3.train.randomness import PICTURES, generator
from tinyyolo3.train.sizes import SizeSchedule
from tinyyolo3.train.workers import Workers

#: One slot of memory is learnt from while the other is filled.
SLOTS = 2


@dataclass(frozen=True, eq=False)
class Batch:
    """What an iteration learns from.

    Attributes:
        pictures: (B, C, H, W) float32, values from 0 to 1. They are the source's own, and valid
            until it is asked for the next batch.
        truths: the labels of each picture.
        size_px: width and height of the pictures.
    """

    pictures: NDArray[np.float32]
    truths: tuple[Truths, ...]
    size_px: tuple[int, int]


class BatchSource(Protocol):
    """Whatever training takes its batches from."""

    def batch(self, iteration: int) -> Batch:
        """Return the batch of an iteration; the first is 1, and any may be asked for."""
        ...


def open_batches(
    graph: Graph, samples: Sequence[Sample], *, seed: int = 0, workers: int | None = None
) -> "Batches":
    """Return the batches that a network's cfg asks for.

    Args:
        graph: of the cfg's own size.
        samples: the labelled pictures; see `tinyyolo3.train.gathering.gather_samples`.
        seed: of all that is random, from 0 to 2**32 - 1.
        workers: see `Batches`.

    Raises:
        ConfigError: an option is out of range or not supported in training, with its line.
        InputError: an argument out of range, or the network takes other than 1 or 3 channels.
        DataError: there is no sample.
    """
    channels, height, width = graph.input_shape
    training = read_training_options(graph.config)
    options = read_picture_options(graph.config)
    sizes = SizeSchedule(
        (width, height),
        options.size_factor,
        options.size_step_px,
        training.schedule.max_batches,
        seed,
    )
    return Batches(
        samples, options, sizes, batch=training.batch, channels=channels, seed=seed, workers=workers
    )


def default_workers() -> int:
    """Return how many processes make pictures if nobody says: one for each core, 8 at most.

    A process takes some 150 MB, and eight keep a fast network busy.
    """
    return min(available_cores(), 8)


class Batches:
    """Batches of a labelled set, drawn at random with replacement as Darknet draws them.

    The next iteration's batch is made by worker processes while this one's is learnt from. Close
    it, or use it in a ``with``, to have them end.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        options: PictureOptions,
        sizes: SizeSchedule,
        *,
        batch: int,
        channels: int = 3,
        seed: int = 0,
        workers: int | None = None,
    ) -> None:
        """Check the arguments; processes start with the first batch.

        Args:
            samples: the labelled pictures, in memory.
            options: how pictures are changed.
            sizes: of the network.
            batch: pictures of an iteration.
            channels: 3, or 1 for grey.
            seed: of all that is random, from 0 to 2**32 - 1.
            workers: processes; 0 makes pictures when they are asked for, in the caller; None is
                `default_workers`. There are never more than the cores, nor than a batch's pictures.

        Raises:
            InputError: an argument out of range.
            DataError: there is no sample.
        """
        if not samples:
            raise DataError("there is no picture to train on")
        _check_range("batch", batch, 1, 1 << 20)
        _check_range("seed", seed, 0, (1 << 32) - 1)
        if channels not in (1, 3):
            raise InputError(f"pictures have 1 or 3 channels; the network takes {channels}")
        count = default_workers() if workers is None else workers
        _check_range("workers", count, 0, 1 << 10)
        self._samples, self._options, self._sizes = samples, options, sizes
        self._count, self._channels, self._seed = batch, channels, seed
        self._pending: dict[int, tuple[int, list[Future[Truths]]]] = {}
        self._slot, self._closed = 0, False
        floats = batch * channels * sizes.largest[0] * sizes.largest[1]
        self._workers: Workers | None = None
        if count:
            _compile()
            count = min(count, available_cores(), batch)
            self._workers = Workers(count, SLOTS, floats, options, seed)

    def batch(self, iteration: int) -> Batch:
        """Return the batch of an iteration; the first is 1.

        Raises:
            InputError: `iteration` is less than 1, or this is closed.
            ImageError: a file cannot be read as a picture; names it.
            DataError: a picture is not of the size that its labels are for, or a worker has died.
        """
        _check_range("iteration", iteration, 1, (1 << 32) - 1)
        if self._closed:
            raise InputError("these batches are closed")
        if self._workers is not None:
            return self._batch_of(self._workers, iteration)
        orders = self._orders(iteration)
        width, height = orders[0].size_px
        pictures = np.empty((self._count, self._channels, height, width), np.float32)
        truths = [
            compose_picture(order, self._options, self._seed, out)
            for order, out in zip(orders, pictures, strict=True)
        ]
        return Batch(pictures, tuple(truths), orders[0].size_px)

    def close(self) -> None:
        """End the processes. Pictures of the last batch stay valid."""
        if self._workers is not None and not self._closed:
            self._workers.close([f for _, futures in self._pending.values() for f in futures])
        self._pending, self._closed = {}, True

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _batch_of(self, workers: Workers, iteration: int) -> Batch:
        """Take a batch from the workers, and have them begin the next one."""
        try:
            if iteration not in self._pending:
                self._drop()
                self._begin(workers, iteration)
            slot, futures = self._pending[iteration]
            self._begin(workers, iteration + 1)
            truths = tuple(future.result() for future in futures)
        except BrokenProcessPool:
            raise DataError(
                "a process that makes training pictures has died (killed, or out of memory?)"
            ) from None
        except BaseException:
            self._drop()
            raise
        del self._pending[iteration]
        width, height = size_px = self._sizes.size(iteration)
        shape = (self._count, self._channels, height, width)
        return Batch(workers.slots[slot][: math.prod(shape)].reshape(shape), truths, size_px)

    def _orders(self, iteration: int) -> list[Order]:
        """Draw the pictures of a batch."""
        size_px = self._sizes.size(iteration)
        random = generator(PICTURES, self._seed, iteration)
        chosen = random.integers(len(self._samples), size=(self._count, TILES))
        # DARKNET: tosses a coin for each loading thread's share of a batch, here for each picture.
        mosaics = random.random(self._count) < (0.5 if self._options.augmentation.mosaic else 0)
        return [
            Order(
                tuple(self._samples[index] for index in chosen[n, : TILES if mosaics[n] else 1]),
                iteration,
                n,
                size_px,
            )
            for n in range(self._count)
        ]

    def _begin(self, workers: Workers, iteration: int) -> None:
        """Have a batch made in the slot that was handed out longest ago."""
        orders = self._orders(iteration)
        width, height = orders[0].size_px
        shape = (self._channels, height, width)
        floats = self._channels * height * width
        self._slot = (self._slot + 1) % SLOTS
        futures: list[Future[Truths]] = []
        self._pending[iteration] = self._slot, futures
        for order in orders:
            futures.append(workers.submit(order, self._slot, shape, order.position * floats))

    def _drop(self) -> None:
        """Forget batches that were begun, once nobody writes to their slots any more."""
        begun = [future for _, futures in self._pending.values() for future in futures]
        wait([future for future in begun if not future.cancel()])
        self._pending = {}


def _compile() -> None:
    """Have compiled what the processes need, or each of them would do it."""
    image = np.zeros((1, 1, 3), np.uint8)
    place_picture_numba(image, Crop((1, 1), left=-1), Colours(hue=0.5), np.empty((3, 2, 2), "f4"))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} must be an integer from {low} to {high}, not {value!r}")
