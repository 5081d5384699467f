"""Four pictures in one (AlexeyAB's data.c, load_data_detection with ``mosaic=1``).

A point between 20 % and 80 % of each side cuts the network's input into four tiles. Each picture is
cropped, resized, flipped and recoloured by itself, as if it were to fill the input, and its tile
shows the part that is next to the opposite corner: the upper left tile the lower right part, and so
on, moved by as much as lies beyond the picture there. Every other picture is first moved with its
own edge to the crop's, so that more of it can be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyyolo3.train.crop import Crop
from tinyyolo3.train.labels import MOST_LABELS, Truths
from tinyyolo3.train.picture import Extent

#: Tiles: upper left, upper right, lower left, lower right.
TILES = 4
#: The cut keeps this part of a side away from either end.
MARGIN = 0.2


@dataclass(frozen=True)
class Cut:
    """Where a mosaic is cut; px of the network's input.

    Attributes:
        size_px: width and height of the input.
        x: columns of the tiles on the left.
        y: rows of the tiles above.
    """

    size_px: tuple[int, int]
    x: int
    y: int


def draw_cut(size_px: tuple[int, int], random: np.random.Generator) -> Cut:
    """Draw where a mosaic is cut.

    Args:
        size_px: width and height of the network's input.
        random: 2 numbers are taken from it.
    """
    x, y = (
        int(random.integers(int(side * MARGIN), int(side * (1 - MARGIN)), endpoint=True))
        for side in size_px
    )
    return Cut(size_px, x, y)


def move_to_edge(crop: Crop, tile: int) -> Crop:
    """Shift a crop until two of its sides are the picture's.

    It is the side that the tile has towards the border of the input, above or below, and on the
    left or right as it is before the flip.
    """
    if tile < 2:
        crop = replace(crop, top=0, bottom=crop.bottom + crop.top)
    else:
        crop = replace(crop, top=crop.top + crop.bottom, bottom=0)
    if (tile % 2 == 0) != crop.flipped:
        return replace(crop, left=0, right=crop.right + crop.left)
    return replace(crop, left=crop.left + crop.right, right=0)


def tile_extent(crop: Crop, cut: Cut, tile: int) -> Extent:
    """Return which part of a picture its tile shows, and where the tile is.

    Args:
        crop: of the picture.
        cut: of the mosaic.
        tile: 0 to 3, see `TILES`.
    """
    width, height = cut.size_px
    left, right = (crop.right, crop.left) if crop.flipped else (crop.left, crop.right)
    # DARKNET: margins are scaled as if the crop were the whole picture.
    beyond_left, beyond_right = (
        max(0, -margin * width // crop.picture_size_px[0]) for margin in (left, right)
    )
    beyond_top, beyond_bottom = (
        max(0, -margin * height // crop.picture_size_px[1]) for margin in (crop.top, crop.bottom)
    )
    if tile % 2 == 0:
        columns = (width - cut.x - min(width - cut.x, beyond_right), cut.x, 0)
    else:
        columns = (min(cut.x, beyond_left), width - cut.x, cut.x)
    if tile < 2:
        rows = (height - cut.y - min(height - cut.y, beyond_bottom), cut.y, 0)
    else:
        rows = (min(cut.y, beyond_top), height - cut.y, cut.y)
    return Extent(columns[0], rows[0], columns[1], rows[1], columns[2], rows[2])


def join_truths(
    truths: Sequence[Truths],
    extents: Sequence[Extent],
    size_px: tuple[int, int],
    *,
    bound: bool,
    limit: int = MOST_LABELS,
) -> Truths:
    """Return the labels of a mosaic (data.c, blend_truth_mosaic).

    Boxes move with their picture. Dropped is what is not more than a pixel wide and high after
    they are cut.

    Args:
        truths: of each picture, as if it filled the input.
        extents: of each picture.
        size_px: width and height of the input.
        bound: cut boxes at their tile; else at the input's borders, whatever another picture
            covers of them.
        limit: how many are kept at most.
    """
    boxes, classes = [], []
    size = np.array(size_px, np.float64)
    for own, extent in zip(truths, extents, strict=True):
        centres, half = own.boxes_cxcywh_unit[:, None, :2], own.boxes_cxcywh_unit[:, None, 2:] / 2
        corners = np.concatenate([centres - half, centres + half], axis=1)
        start, sides_px = (extent.to_left, extent.to_top), (extent.width, extent.height)
        corners = corners + np.subtract(start, (extent.left, extent.top)) / size
        first, last = start / size, np.add(start, sides_px) / size
        # DARKNET: with mosaic_bound= it also rounds to whole pixels, and a box that lies wholly in
        # another tile is turned inside out, and so dropped.
        corners = corners.clip(first, last) if bound else corners.clip(0, 1)
        sides = corners[:, 1] - corners[:, 0]
        kept = (sides > 1 / size).all(axis=1)
        boxes.append(np.hstack([corners.mean(axis=1), sides])[kept])
        classes.append(own.classes[kept])
    return Truths(np.concatenate(boxes)[:limit], np.concatenate(classes)[:limit])
