"""From labelled files to one picture of a batch: read, crop, recolour, or a mosaic of four."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray
from tinyyolo3.data.samples import Sample
from tinyyolo3.errors import DataError
from tinyyolo3.image.files import read_image, to_grey
from tinyyolo3.train.augmentation import PictureOptions
from tinyyolo3.train.colours import Colours
from tinyyolo3.train.crop import Crop
from tinyyolo3.train.draws import draw_colours, draw_crop
from tinyyolo3.train.labels import Truths, darknet_truths
from tinyyolo3.train.mosaic import draw_cut, join_truths, move_to_edge, tile_extent
from tinyyolo3.train.picture import place_picture_numba
from tinyyolo3.train.randomness import CHANGES, generator


@dataclass(frozen=True)
class Order:
    """One picture of a batch that is to be made.

    Attributes:
        samples: the labelled picture, or the four of a mosaic.
        iteration: that it is for.
        position: in the batch.
        size_px: width and height of the network's input.
    """

    samples: tuple[Sample, ...]
    iteration: int
    position: int
    size_px: tuple[int, int]


def compose_picture(
    order: Order, options: PictureOptions, seed: int, out: NDArray[np.float32]
) -> Truths:
    """Make a picture of a batch.

    Args:
        order: which.
        options: how pictures are changed.
        seed: of the changes, which depend on it, the iteration and the position alone.
        out: C-contiguous float32 (channels, height, width) to write to: 3 planes R, G, B, or 1 of
            grey; values from 0 to 1.

    Returns:
        Its labels, in the frame of `out`.

    Raises:
        ImageError: a file cannot be read as a picture; names it.
        DataError: a picture is not of the size that its labels are for.
    """
    # A network of one channel gets what it would be given as three equal ones.
    planes = out if len(out) == 3 else np.empty((3, *out.shape[1:]), np.float32)
    random = generator(CHANGES, seed, order.iteration, order.position)
    if len(order.samples) == 1:
        (sample,) = order.samples
        image = _read(sample, grey=len(out) == 1)
        crop, colours = _draw(sample, order, options, random)
        place_picture_numba(image, crop, colours, planes)
        truths = _truths(sample, crop, order, options, random)
    else:
        truths = _compose_mosaic(order, options, random, planes, grey=len(out) == 1)
    if planes is not out:
        out[0] = planes[0]
    return truths


def _compose_mosaic(
    order: Order,
    options: PictureOptions,
    random: np.random.Generator,
    planes: NDArray[np.float32],
    *,
    grey: bool,
) -> Truths:
    cut = draw_cut(order.size_px, random)
    truths, extents = [], []
    for tile, sample in enumerate(order.samples):
        crop, colours = _draw(sample, order, options, random)
        if random.random() < 0.5:
            crop = move_to_edge(crop, tile)
        extents.append(tile_extent(crop, cut, tile))
        truths.append(_truths(sample, crop, order, options, random))
        place_picture_numba(_read(sample, grey=grey), crop, colours, planes, extents[-1])
    bound, limit = options.augmentation.mosaic_bound, options.most_labels
    return join_truths(truths, extents, order.size_px, bound=bound, limit=limit)


def _draw(
    sample: Sample, order: Order, options: PictureOptions, random: np.random.Generator
) -> tuple[Crop, Colours]:
    size_px = (sample.width, sample.height)
    crop = draw_crop(options.augmentation, size_px, order.size_px, random)
    return crop, draw_colours(options.augmentation, random)


def _truths(
    sample: Sample,
    crop: Crop,
    order: Order,
    options: PictureOptions,
    random: np.random.Generator,
) -> Truths:
    return darknet_truths(
        sample,
        order.size_px,
        options.classes,
        order=random,
        limit=options.most_labels,
        crop=crop,
    )


def _read(sample: Sample, *, grey: bool) -> ByteArray:
    image = read_image(sample.image)
    height, width = image.shape[:2]
    if (width, height) != (sample.width, sample.height):
        raise DataError(
            f"{sample.image}: is {width} x {height} pixels, but its labels are for "
            f"{sample.width} x {sample.height}"
        )
    return to_grey(image) if grey else image
