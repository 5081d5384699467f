"""The random numbers of one picture (AlexeyAB's data.c, load_data_detection).

A crop's *margin* is what is cut off on a side of the picture, negative where the crop reaches
beyond it:

    margin = int(U(−j, j) · side) + int(what resize= and letter_box= ask for),

with j = ``jitter`` and each of the four drawn by itself. ``resize=r`` zooms: it takes up to
(1 − 1/r) / 2 of a side at either end, or adds up to (r − 1) / 2 of it. ``letter_box=1`` adds to the
sides that lack it what keeps the aspect ratio.
"""

from dataclasses import replace

import numpy as np

from tinyyolo3.train.augmentation import Augmentation
from tinyyolo3.train.colours import Colours
from tinyyolo3.train.crop import Crop


def draw_colours(options: Augmentation, random: np.random.Generator) -> Colours:
    """Draw how a picture's colours are changed.

    Args:
        options: what to draw from.
        random: 5 numbers are taken from it, whatever the options.
    """
    hue, saturation, exposure = random.random(3)
    inverted = random.random(2) < 0.5
    return Colours(
        hue=(2 * hue - 1) * options.hue,
        saturation=scale_between(options.saturation, saturation, inverted=bool(inverted[0])),
        exposure=scale_between(options.exposure, exposure, inverted=bool(inverted[1])),
    )


def scale_between(most: float, part: float, *, inverted: bool) -> float:
    """Return the factor that is `part` of the way from 1 to `most`, or its inverse.

    Source: utils.c, rand_scale.
    """
    scale = 1 + part * (most - 1)
    return 1 / scale if inverted else scale


def draw_crop(
    options: Augmentation,
    picture_size_px: tuple[int, int],
    network_size_px: tuple[int, int],
    random: np.random.Generator,
) -> Crop:
    """Draw a crop of a picture.

    Args:
        options: what to draw from.
        picture_size_px: width and height of the picture.
        network_size_px: width and height of the network's input.
        random: 7 numbers are taken from it, whatever the options.
    """
    width, height = picture_size_px
    down, up = min(options.resize, 1 / options.resize), max(options.resize, 1 / options.resize)
    # DARKNET: resize= below 1 only ever adds; above 1 it adds or takes, as much as it stands for.
    most = 0.0 if options.resize < 1 else (1 - 1 / up) / 2
    least = (1 - 1 / down) / 2
    shifts, zooms, flip = random.random(4), random.random(2), random.random()
    # DARKNET: left and top zoom together, and right and bottom, so that a zoom is also a shift
    # along the diagonal.
    left, right, top, bottom = (
        _between(-int(side * options.jitter), int(side * options.jitter), shift)
        + _between(int(side * least), int(side * most), zoom)
        for side, shift, zoom in zip(
            (width, width, height, height), shifts, (*zooms, *zooms), strict=True
        )
    )
    crop = Crop(picture_size_px, left, right, top, bottom, options.flip and flip < 0.5)
    return _letterboxed(crop, network_size_px) if options.letter_box else crop


def _letterboxed(crop: Crop, network_size_px: tuple[int, int]) -> Crop:
    """Enlarge a crop by what the picture lacks of the network's aspect ratio."""
    width, height = crop.picture_size_px
    aspect = network_size_px[0] / network_size_px[1]
    if width / height > aspect:
        more = (width / aspect - height) / 2
        return replace(crop, top=int(crop.top - more), bottom=int(crop.bottom - more))
    more = (height * aspect - width) / 2
    return replace(crop, left=int(crop.left - more), right=int(crop.right - more))


def _between(low: int, high: int, part: float) -> int:
    """Return the number that is `part` of the way from `low` to `high`, towards zero."""
    return int(low + part * (high - low))
