"""Four pictures in one, and their labels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT64, RESIZED_EDGE_PX
from tinyyolo3.train.augmentation import Augmentation
from tinyyolo3.train.colours import Colours
from tinyyolo3.train.crop import Crop
from tinyyolo3.train.draws import draw_crop
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.mosaic import Cut, draw_cut, join_truths, move_to_edge, tile_extent
from tinyyolo3.train.picture import Extent, place_picture_numba

SIZE = (64, 48)
TILES = range(4)


def truths(*boxes: tuple[float, float, float, float]) -> Truths:
    return Truths(np.array(boxes, np.float64).reshape(-1, 4), np.arange(len(boxes)))


def test_tiles_cover_the_input_once():
    crops, cut = [Crop((30, 20), -3, 4, 5, -6)] * 4, Cut(SIZE, 20, 30)
    covered = np.zeros(SIZE[::-1], int)
    for tile, crop in enumerate(crops):
        e = tile_extent(crop, cut, tile)
        covered[e.to_top : e.to_top + e.height, e.to_left : e.to_left + e.width] += 1
    assert (covered == 1).all()


def test_a_tile_shows_the_part_by_the_opposite_corner():
    cut = Cut(SIZE, 20, 30)
    found = [tile_extent(Crop((30, 20)), cut, tile) for tile in TILES]
    assert found == [
        Extent(44, 18, 20, 30, 0, 0),
        Extent(0, 18, 44, 30, 20, 0),
        Extent(44, 0, 20, 18, 0, 30),
        Extent(0, 0, 44, 18, 20, 30),
    ]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_what_lies_beyond_a_picture_is_left_out_as_if_the_crop_were_whole(
    tile: int, flipped: bool
) -> None:
    cut = Cut(SIZE, 20, 30)
    crop = Crop((32, 24), left=-2, right=-3, top=-4, bottom=-5, flipped=flipped)
    plain, found = tile_extent(Crop((32, 24)), cut, tile), tile_extent(crop, cut, tile)
    left, right = (6, 4) if flipped else (4, 6)  # twice the margins: the input is twice as large
    assert found.left - plain.left == (left if tile % 2 else -right)
    assert found.top - plain.top == (-10 if tile < 2 else 8)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_every_other_picture_is_moved_to_its_edge(tile: int, flipped: bool) -> None:
    crop = Crop((32, 24), 1, 2, 3, 4, flipped)
    found = move_to_edge(crop, tile)
    assert (found.width, found.height) == (crop.width, crop.height)
    assert (found.top, found.bottom) == ((0, 7) if tile < 2 else (7, 0))
    at_left = {(0, False), (1, True), (2, False), (3, True)}
    assert (found.left, found.right) == ((0, 3) if (tile, flipped) in at_left else (3, 0))


@given(st.integers(0, 1000), st.integers(5, 700), st.integers(5, 700))
def test_cuts_keep_a_fifth_away_from_the_borders(seed: int, width: int, height: int) -> None:
    cut = draw_cut((width, height), np.random.default_rng(seed))
    assert int(0.2 * width) <= cut.x <= int(0.8 * width)
    assert int(0.2 * height) <= cut.y <= int(0.8 * height)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans())
def test_labels_stay_on_what_they_mark(seed: int, bound: bool) -> None:
    """Each picture has one bright rectangle in a colour of its own on black."""
    random = np.random.default_rng(seed)
    cut, out = draw_cut(SIZE, random), np.zeros((3, SIZE[1], SIZE[0]), np.float32)
    owns, extents, scales = [], [], []
    for tile in TILES:
        width, height = (int(n) for n in random.integers(30, 90, 2))
        x0, y0 = random.uniform(0, 0.6, 2)
        x1, y1 = np.add((x0, y0), random.uniform(0.2, 0.4, 2))
        corners = np.array([[[x0, y0], [x1, y1]]]) * (width, height)
        corners = np.rint(corners)
        image = np.zeros((height, width, 3), np.uint8)
        (left, top), (right, bottom) = corners[0].astype(int)
        image[top:bottom, left:right] = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0)][tile]
        # Only zoomed in: beyond the picture would be the mean colour, not black.
        options = Augmentation(jitter=0.2, flip=True)
        crop = draw_crop(options, (width, height), SIZE, random)
        crop = replace(crop, left=abs(crop.left), right=abs(crop.right), top=abs(crop.top),
                       bottom=abs(crop.bottom))  # fmt: skip
        if random.random() < 0.5:
            crop = move_to_edge(crop, tile)
        found = crop.corners_of(corners / (width, height)).clip(0, 1)
        sides = found[:, 1] - found[:, 0]
        owns.append(Truths(np.hstack([found.mean(axis=1), sides]), np.array([tile])))
        extents.append(tile_extent(crop, cut, tile))
        scales.append(max(SIZE[0] / crop.width, SIZE[1] / crop.height))
        place_picture_numba(image, crop, Colours(), out, extents[-1])
    joined = join_truths(owns, extents, SIZE, bound=bound)
    bright = (out >= 0.5).astype(int)
    kinds = 4 * bright[0] + 2 * bright[1] + bright[2]
    for (cx, cy, w, h), tile in zip(joined.boxes_cxcywh_unit * (SIZE * 2), joined.classes,
                                    strict=True):  # fmt: skip
        slack = RESIZED_EDGE_PX + 0.5 * scales[tile]
        if min(w, h) <= 2 * slack:
            continue  # too small to be seen for sure
        rows, columns = np.nonzero(kinds == [1, 2, 4, 6][tile])
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        wanted = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        # The last row of an input may be black.
        assert (np.abs(seen - wanted) <= slack + 1).all()


def test_boxes_move_with_their_tile_and_are_cut_at_it_or_at_the_input():
    extent = Extent(44, 0, 20, 18, 0, 30)  # lower left
    box = truths((0.5, 0.25, 0.75, 0.5))  # columns 8 to 56, rows 0 to 24 of the picture
    (bound,) = join_truths([box], [extent], SIZE, bound=True).boxes_cxcywh_unit
    np.testing.assert_allclose(
        bound * (SIZE * 2), [6, 39, 12, 18], rtol=ELEMENTARY_FLOAT64
    )  # columns 0 to 12, rows 30 to 48
    right = Extent(6, 18, 44, 30, 20, 0)  # upper right
    low = truths((0.25, 0.5, 0.5, 1.0))  # columns 0 to 32: 14 to 46 of the input; rows -18 to 30
    (free,) = join_truths([low], [right], SIZE, bound=False).boxes_cxcywh_unit
    np.testing.assert_allclose(free * (SIZE * 2), [30, 15, 32, 30], rtol=ELEMENTARY_FLOAT64)
    (bound,) = join_truths([low], [right], SIZE, bound=True).boxes_cxcywh_unit
    np.testing.assert_allclose(bound * (SIZE * 2), [33, 15, 26, 30], rtol=ELEMENTARY_FLOAT64)


def test_only_what_is_more_than_a_pixel_is_kept_and_no_more_than_the_limit():
    extent = Extent(0, 0, 44, 18, 20, 30)
    some = truths(
        (0.5, 0.2, 0.2, 0.2),
        (0.1, 0.2, 1 / 64, 0.2),
        (0.2, 0.1, 1.2 / 64, 0.1),
        (0.9, 0.9, 0.1, 0.1),
    )
    assert join_truths([some], [extent], SIZE, bound=False).classes.tolist() == [0, 2]
    limited = join_truths([some] * 2, [extent] * 2, SIZE, bound=False, limit=3)
    assert limited.classes.tolist() == [0, 2, 0]
    assert len(limited.boxes_cxcywh_unit) == 3
