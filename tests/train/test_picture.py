"""Pictures as the network is shown them: crops, flips, and labels that stay on their objects."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.data.samples import Sample
from tinyyolo3.image.resize import network_input_reference
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import RESIZED_EDGE_PX
from tinyyolo3.train.augmentation import Augmentation
from tinyyolo3.train.colours import Colours
from tinyyolo3.train.crop import Crop
from tinyyolo3.train.draws import draw_crop
from tinyyolo3.train.labels import darknet_truths
from tinyyolo3.train.picture import Extent, place_picture_numba, place_picture_reference

both = pytest.mark.parametrize("place", [place_picture_reference, place_picture_numba])
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
margins = st.tuples(*[st.floats(-0.9, 0.49)] * 4)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def crop_of(size_px: tuple[int, int], parts: tuple[float, ...], flipped: bool = False) -> Crop:
    (width, height), (left, right, top, bottom) = size_px, parts
    return Crop(
        size_px, int(left * width), int(right * width), int(top * height), int(bottom * height),
        flipped,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    sizes, sizes, margins, st.booleans(), st.sampled_from([Colours(), Colours(-0.3, 1.4, 0.7)]),
    st.data(),
)  # fmt: skip
def test_the_compiled_version_has_the_references_bits(
    size_px: tuple[int, int],
    input_px: tuple[int, int],
    parts: tuple[float, ...],
    flipped: bool,
    colours: Colours,
    data: st.DataObject,
) -> None:
    image, crop = picture(*size_px)[::-1], crop_of(size_px, parts, flipped)
    width, height = input_px
    left, top = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    extent = Extent(
        data.draw(st.integers(0, left)), data.draw(st.integers(0, top)), width - left, height - top,
        left, top,
    )  # fmt: skip
    wanted, found = np.full((2, 3, height, width), 7, np.float32)
    place_picture_reference(image, crop, colours, wanted, extent)
    place_picture_numba(image, crop, colours, found, extent)
    np.testing.assert_array_equal(found, wanted)
    assert (found[:, :top] == 7).all()
    assert (found[:, :, :left] == 7).all()


@both
@settings(deadline=None)
@given(sizes, sizes)
def test_an_unchanged_picture_is_what_detection_sees(
    place: object, size_px: tuple[int, int], input_px: tuple[int, int]
) -> None:
    image = picture(*size_px)
    out = np.empty((3, input_px[1], input_px[0]), np.float32)
    place(image, Crop(size_px), Colours(), out)
    np.testing.assert_array_equal(out, network_input_reference(image, *input_px, "stretch"))


def test_threads_do_not_matter():
    image, crop = picture(90, 150), Crop((90, 150), -3, 5, 7, -11, True)
    out = np.empty((2, 3, 300, 50), np.float32)
    for threads, one in zip((1, 3), out, strict=True):
        with thread_limit(threads):
            place_picture_numba(image, crop, Colours(0.1), one)
    np.testing.assert_array_equal(out[0], out[1])


@both
def test_a_crop_in_whole_pixels_is_copied_and_beyond_the_picture_is_its_mean(place: object) -> None:
    image = picture(8, 6)
    out = np.empty((3, 7, 9), np.float32)
    place(image, Crop((8, 6), left=-2, right=1, top=1, bottom=-2), Colours(), out)
    scaled = (image / 255).astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(out[:, :5, 2:], scaled[:, 1:, :7])
    mean = (np.rint(image.mean(axis=(0, 1))) / 255).astype(np.float32)
    np.testing.assert_array_equal(out[:, :, :2], np.broadcast_to(mean[:, None, None], (3, 7, 2)))
    np.testing.assert_array_equal(out[:, 5:], np.broadcast_to(mean[:, None, None], (3, 2, 9)))


@both
def test_a_flip_mirrors_the_crop(place: object) -> None:
    image, out = picture(21, 13), np.empty((2, 3, 16, 32), np.float32)
    for flipped in (False, True):
        crop = Crop((21, 13), left=3, right=-4, top=-1, flipped=flipped)
        place(image, crop, Colours(), out[int(flipped)])
    np.testing.assert_array_equal(out[1], out[0, :, :, ::-1])


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10_000),
    st.floats(0, 0.4),
    st.sampled_from([0.7, 1.0, 1.2]),
    st.booleans(),
)
def test_labels_stay_on_what_they_mark(
    seed: int, jitter: float, resize: float, letter_box: bool
) -> None:
    random = np.random.default_rng(seed)
    width, height = size_px = tuple(int(n) for n in random.integers(40, 120, 2))
    (x0, x1), (y0, y1) = (np.sort(random.choice(side + 1, 2, replace=False)) for side in size_px)
    image = np.zeros((height, width, 3), np.uint8)
    image[y0:y1, x0:x1] = 255
    options = Augmentation(jitter=jitter, resize=resize, letter_box=letter_box, flip=True)
    crop = draw_crop(options, size_px, (96, 64), random)
    no = np.zeros(1, np.bool_)
    box = np.array([[x0, y0, x1, y1]], np.float64)
    sample = Sample(Path("a"), width, height, box, np.array([0]), no, no, np.ones(1), 1, ())
    truths = darknet_truths(sample, (96, 64), 1, crop=crop)
    # Nothing of the mean colour, which may be as bright as the object.
    out = np.empty((3, 64, 96), np.float32)
    framed = np.zeros((height + 400, width + 400, 3), np.uint8)
    framed[200:-200, 200:-200] = image
    moved = Crop(
        (width + 400, height + 400), crop.left + 200, crop.right + 200, crop.top + 200,
        crop.bottom + 200, crop.flipped,
    )  # fmt: skip
    place_picture_numba(framed, moved, Colours(), out)
    rows, columns = np.nonzero(out[0, :-1] >= 0.5)
    slack = RESIZED_EDGE_PX + 0.5 * np.array([96 / crop.width, 64 / crop.height])
    if not len(truths.classes):
        assert not len(rows) or (np.ptp(columns) <= 2 * slack[0]) or (np.ptp(rows) <= 2 * slack[1])
        return
    centre, sides = truths.boxes_cxcywh_unit[0, :2], truths.boxes_cxcywh_unit[0, 2:]
    if (sides * (96, 64) <= 2 * slack).any():
        return  # too small to be seen for sure
    seen = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
    marked = np.array([centre - sides / 2, centre + sides / 2]) * (96, 64)
    # The last row is left out, for Darknet may leave it black.
    assert (np.abs(seen - marked) <= slack + np.array([0, 1])).all()


def test_a_crops_margins_are_drawn_from_the_whole_range_of_jitter():
    random = np.random.default_rng(1)
    options = Augmentation(jitter=0.25, flip=True)
    crops = [draw_crop(options, (100, 40), (32, 32), random) for _ in range(500)]
    sides = np.array([(c.left, c.right, c.top, c.bottom) for c in crops])
    np.testing.assert_array_equal(sides.min(axis=0), [-24, -24, -9, -9])
    np.testing.assert_array_equal(sides.max(axis=0), [24, 24, 9, 9])
    assert np.corrcoef(sides.T)[np.triu_indices(4, 1)] == pytest.approx(0, abs=0.15)
    assert np.mean([c.flipped for c in crops]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("resize", "low", "high"), [(1.5, -25, 16), (0.8, -12, 0)])
def test_resize_zooms_within_its_factor(resize: float, low: int, high: int) -> None:
    random = np.random.default_rng(0)
    options = Augmentation(resize=resize)
    crops = [draw_crop(options, (100, 100), (32, 32), random) for _ in range(300)]
    sides = np.array([(c.left, c.right, c.top, c.bottom) for c in crops])
    assert sides.min() == pytest.approx(low, abs=1)
    assert sides.max() == pytest.approx(high, abs=1)
    np.testing.assert_array_equal(sides[:, :2], sides[:, 2:])  # left as top, right as bottom


def test_letter_box_keeps_the_aspect_ratio():
    options, random = Augmentation(letter_box=True), np.random.default_rng(0)
    assert draw_crop(options, (100, 40), (64, 64), random) == Crop((100, 40), top=-30, bottom=-30)
    assert draw_crop(options, (40, 100), (64, 32), random) == Crop((40, 100), left=-80, right=-80)
