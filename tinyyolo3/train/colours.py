"""Hue, saturation and exposure of a picture, by way of HSV (image.c, distort_image).

With M and m the largest and smallest of a pixel's R, G, B, Δ = M − m, and h the hue in sixths of
the circle (Smith, Color Gamut Transform Pairs, 1978):

    v = M,  s = Δ / M,  h = (G − B)/Δ, 2 + (B − R)/Δ or 4 + (R − G)/Δ for M = R, G or B.

Then v ← v · exposure, s ← s · saturation, h ← h + 6 · hue (mod 6), and back, with n = 5, 3, 1 for
R, G, B:

    v − v · s · max(0, min(k, 4 − k, 1)),  k = (n + h) mod 6.

This is Darknet's way back without its six cases, so that it is vector code. Its build with OpenCV
does the same on bytes, where hues come in steps of two degrees, and those that would fall below 0
become red instead of going around; the float version of its image.c is followed here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.parallel import compiled


class Colours(NamedTuple):
    """How colours are changed; the defaults leave them.

    Attributes:
        hue: part of the circle that is added.
        saturation: factor.
        exposure: factor on brightness.
    """

    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0


def shift_colours_reference(planes: FloatArray, colours: Colours) -> FloatArray:
    """Change the colours of planes R, G, B.

    Args:
        planes: floating (3, ...), values from 0 to 1.
        colours: how; computed in the dtype of `planes`.

    Returns:
        A new array like `planes`, cut at 0 and 1.
    """
    if colours == Colours():
        return planes.copy()
    number = planes.dtype.type
    red, green, blue = planes
    value = planes.max(axis=0)
    spread = value - planes.min(axis=0)
    divisor = np.where(spread == 0, number(1), spread)
    sixth = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(
            value == green, number(2) + (blue - red) / divisor, number(4) + (red - green) / divisor
        ),
    )
    sixth = sixth + number(6 * colours.hue)
    sixth = np.where(sixth < 0, sixth + number(6), sixth)
    sixth = np.where(sixth >= 6, sixth - number(6), sixth)
    saturation = spread / np.where(value == 0, number(1), value) * number(colours.saturation)
    value = value * number(colours.exposure)
    chroma = value * saturation
    shifted = []
    for first in (5, 3, 1):
        turn = sixth + number(first)
        turn = np.where(turn >= 6, turn - number(6), turn)
        share = np.minimum(np.minimum(turn, number(4) - turn), number(1)).clip(number(0), None)
        shifted.append((value - chroma * share).clip(0, 1))
    return np.stack(shifted)


@compiled
def shift_row(
    out: NDArray[np.float32],
    row: int,
    left: int,
    right: int,
    hue: np.float32,
    saturation: np.float32,
    exposure: np.float32,
) -> None:
    """Change the colours of columns [left, right) of a row of planes (3, H, W), in place.

    Args:
        out: float32.
        row: which.
        left: first column.
        right: the one after the last.
        hue: in sixths of the circle, from -6 to 6.
        saturation: factor.
        exposure: factor.
    """
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    four, six = np.float32(4), np.float32(6)
    for column in range(left, right):
        red, green, blue = out[0, row, column], out[1, row, column], out[2, row, column]
        value = max(red, max(green, blue))
        spread = value - min(red, min(green, blue))
        divisor = one if spread == zero else spread
        of_red = (green - blue) / divisor
        of_green = two + (blue - red) / divisor
        of_blue = four + (red - green) / divisor
        sixth = of_red if value == red else (of_green if value == green else of_blue)
        sixth += hue
        sixth = sixth + six if sixth < zero else sixth
        sixth = sixth - six if sixth >= six else sixth
        # Each division by itself: the reference's roundings.
        part = spread / (one if value == zero else value) * saturation
        value *= exposure
        chroma = value * part
        for channel in range(3):
            turn = sixth + np.float32(5 - 2 * channel)
            turn = turn - six if turn >= six else turn
            share = max(zero, min(min(turn, four - turn), one))
            out[channel, row, column] = min(one, max(zero, value - chroma * share))
