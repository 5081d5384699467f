"""Resizing: Darknet's tensors bit for bit, the compiled version's bits, and the boxes' way back."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.image.files import read_image
from tinyyolo3.image.geometry import (
    boxes_image_from_network_unit,
    boxes_network_from_image_unit,
    letterbox_geometry,
    resize_geometry,
    stretch_geometry,
)
from tinyyolo3.image.resize import (
    _interpolate_rows,
    network_input_numba,
    network_input_reference,
    resize_reference,
)
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import BOX_ROUND_TRIP, bilinear

MODES = ("letterbox", "stretch")
both = pytest.mark.parametrize("network_input", [network_input_reference, network_input_numba])
sizes = st.integers(1, 40)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bilinear_by_loops(planes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Align corners and interpolate in float64, in the order of no implementation: one output
    pixel at a time, from its four neighbours. Positions are exact fractions, so this knows
    nothing of Darknet's float32."""
    channels, rows, columns = planes.shape
    result = np.empty((channels, height, width))
    for k in range(channels):
        for r in range(height):
            for c in range(width):
                y, dy = divmod(r * (rows - 1), max(height - 1, 1))
                x, dx = divmod(c * (columns - 1), max(width - 1, 1))
                fy, fx = dy / max(height - 1, 1), dx / max(width - 1, 1)
                if width == 1:
                    x, fx = columns - 1, 0.0  # the column that Darknet takes
                below, right = min(y + 1, rows - 1), min(x + 1, columns - 1)
                result[k, r, c] = (1 - fy) * (
                    (1 - fx) * planes[k, y, x] + fx * planes[k, y, right]
                ) + fy * ((1 - fx) * planes[k, below, x] + fx * planes[k, below, right])
    return result


def last_position(source: int, target: int) -> np.float32:
    """Where Darknet's float32 arithmetic puts the last of `target` positions."""
    return np.float32(target - 1) * (np.float32(source - 1) / np.float32(max(target - 1, 1)))


@pytest.mark.reference
@both
@pytest.mark.parametrize("name", ["dog", "person"])
@pytest.mark.parametrize("size", [(416, 416), (320, 256)])
@pytest.mark.parametrize("mode", MODES)
def test_darknet_network_inputs_are_reproduced_bit_for_bit(network_input, name, size, mode):
    if "TINYYOLO3_REFERENCE" not in os.environ:
        pytest.skip("TINYYOLO3_REFERENCE does not name the folder of Darknet's answers")
    folder = Path(os.environ["TINYYOLO3_REFERENCE"])
    expected = np.load(folder / "expected" / "network_inputs.npz")
    image = read_image(folder / "images" / f"{name}.png")
    given_input = network_input(image, *size, mode)
    wanted = expected[f"{name}.{mode}.{size[0]}x{size[1]}"]
    assert np.array_equal(given_input[:, ::7, ::5], wanted)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(0, 99))
def test_resize_reference_agrees_with_loops_in_float64(rows, columns, width, height, seed):
    # Rounded just short of the last row, Darknet's last row is dark; that has its own test.
    assume(last_position(rows, height) >= rows - 1)
    planes = np.random.default_rng(seed).random((2, rows, columns))
    wanted = bilinear_by_loops(planes, width, height)
    for dtype in (np.float32, np.float64):
        resized = resize_reference(planes.astype(dtype), width, height)
        assert resized.dtype == dtype
        assert np.abs(resized - wanted).max() <= bilinear(max(rows, columns))


@settings(max_examples=25, deadline=None)
@given(sizes, sizes)
def test_same_size_comes_back_unchanged(rows, columns):
    planes = np.random.default_rng(0).random((3, rows, columns), np.float32)
    assert np.array_equal(resize_reference(planes, columns, rows), planes)


@both
def test_darknet_last_row_is_dark_where_rounding_falls_short(network_input):
    """240 rows to 416 puts the last position at 238.99998: weight 2e-5 of row 238, and no more."""
    assert last_position(240, 416) < 239
    white = np.full((240, 416, 3), 255, np.uint8)
    given_input = network_input(white, 416, 416, "stretch")
    weight = np.float32(1) - (last_position(240, 416) - np.float32(238))
    assert np.array_equal(given_input[:, -1], np.full((3, 416), weight))
    assert 0 < weight < 1e-4
    assert given_input[:, :-1].min() > 0.999


@both
def test_darknet_last_row_is_dimmed_where_rounding_overshoots(network_input):
    """4 rows to 22 puts the last position a trifle behind row 3, whose weight it then lacks."""
    position = last_position(4, 22)
    assert position > 3
    white = np.full((4, 22, 3), 255, np.uint8)
    last = network_input(white, 22, 22, "stretch")[:, -1]
    assert np.array_equal(last, np.full((3, 22), np.float32(1) - (position - np.float32(3))))
    assert last.max() < 1


@both
def test_darknet_last_column_is_copied_exactly(network_input):
    """The same 240 on the other axis: columns have no such fault."""
    image = picture(416, 240)
    given_input = network_input(image, 416, 416, "stretch")
    assert np.array_equal(given_input[:, :, -1], (image[:, -1].T / 255.0).astype(np.float32))


@both
def test_darknet_bytes_are_divided_in_double_and_rounded_once(network_input):
    image = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)
    wanted = [float(np.float32(v / 255.0)) for v in range(256)]
    assert network_input(image, 16, 16, "stretch")[1].ravel().tolist() == wanted


@both
def test_one_row_or_column_is_the_first_row_and_the_last_column(network_input):
    image = picture(5, 7)
    unit = (image / 255.0).astype(np.float32)
    assert np.array_equal(network_input(image, 1, 1, "stretch")[:, 0, 0], unit[0, -1])
    assert np.array_equal(network_input(image, 7, 1, "stretch")[:, 0], unit[0].T)


@both
@pytest.mark.parametrize(("height", "width"), [(9, 40), (40, 9), (8, 9), (300, 1)])
def test_letterbox_is_the_resized_picture_in_a_border_of_one_half(network_input, height, width):
    image = picture(height, width)
    frame = letterbox_geometry(width, height, 32, 24)
    given_input = network_input(image, 32, 24, "letterbox").copy()
    inner = given_input[
        :, frame.top : frame.top + frame.new_height, frame.left : frame.left + frame.new_width
    ]
    alone = network_input(image, frame.new_width, frame.new_height, "stretch")
    assert np.array_equal(inner, alone)
    inner[...] = 0.5
    assert (given_input == 0.5).all()


@settings(max_examples=60, deadline=None)
@given(
    rows=sizes,
    columns=sizes,
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    mode=st.sampled_from(MODES),
    threads=st.integers(1, 5),
    view=st.sampled_from(["contiguous", "mirrored", "cropped", "read-only"]),
)
@example(1, 30, 64, 64, "letterbox", 3, "contiguous")
@example(30, 1, 64, 64, "stretch", 3, "contiguous")
def test_numba_gives_the_bits_of_the_reference(rows, columns, width, height, mode, threads, view):
    whole = picture(rows + 2, columns + 2)
    image = whole[1:-1, 1:-1]
    if view == "mirrored":
        image = image[::-1, ::-1, ::-1]
    elif view != "cropped":
        image = np.ascontiguousarray(image)
        image.flags.writeable = view != "read-only"
    before = image.copy()
    wanted = network_input_reference(image, width, height, mode)
    with thread_limit(threads):
        given_input = network_input_numba(image, width, height, mode)
    assert given_input.dtype == wanted.dtype == np.float32
    assert np.array_equal(given_input, wanted)
    assert given_input.min() >= 0
    assert given_input.max() <= 1
    assert np.array_equal(image, before)


@both
def test_out_is_written_in_place_even_with_strides(network_input):
    image = picture(20, 30)
    wanted = network_input_reference(image, 16, 12, "letterbox")
    batch = np.full((3, 3, 12, 16), np.nan, np.float32)
    result = network_input(image, 16, 12, "letterbox", out=batch[1])
    assert result.base is batch
    assert np.array_equal(batch[1], wanted)
    assert np.isnan(batch[[0, 2]]).all()
    strided = np.empty((12, 16, 3), np.float32).transpose(2, 0, 1)
    assert np.array_equal(network_input(image, 16, 12, "letterbox", strided), wanted)


@both
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([[1]], 8, 8, "stretch"), "uint8 array, not list"),
        ((np.zeros((4, 4, 3)), 8, 8, "stretch"), "uint8 array, not float64"),
        ((np.zeros((4, 4), np.uint8), 8, 8, "stretch"), r"\(4, 4\)"),
        ((np.zeros((0, 4, 3), np.uint8), 8, 8, "stretch"), r"\(0, 4, 3\)"),
        ((picture(4, 4), 0, 8, "stretch"), "positive integers, not 0"),
        ((picture(4, 4), 8, 8.0, "letterbox"), "positive integers, not 8.0"),
        ((picture(4, 4), 8, True, "letterbox"), "positive integers, not True"),
        ((picture(4, 4), 8, 8, "crop"), "'letterbox' or 'stretch', not 'crop'"),
        ((picture(4, 4), 8, 8, "stretch", np.empty((3, 8, 9), np.float32)), r"\(3, 8, 9\)"),
        ((picture(4, 4), 8, 8, "stretch", np.empty((3, 8, 8))), "float64"),
    ],
)
def test_wrong_arguments_are_refused(network_input, arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        network_input(*arguments)


@both
def test_read_only_out_is_refused(network_input):
    out = np.empty((3, 8, 8), np.float32)
    out.flags.writeable = False
    with pytest.raises(InputError, match="read-only"):
        network_input(picture(4, 4), 8, 8, "stretch", out)


def test_darknet_letterbox_truncates_sizes_and_offsets():
    frame = letterbox_geometry(773, 512, 416, 416)  # 416 · 512 / 773 = 275.54; border 141 rows
    assert (frame.new_width, frame.new_height) == (416, 275)
    assert (frame.left, frame.top) == (0, 70)
    frame = letterbox_geometry(3, 7, 100, 200)  # 200 · 3 / 7 = 85.7; border 15 columns
    assert (frame.new_width, frame.new_height, frame.left, frame.top) == (85, 200, 7, 0)


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 5000)] * 4)
@example(1, 5000, 32, 32)
def test_letterbox_fits_touches_two_borders_and_keeps_the_aspect(width, height, across, down):
    frame = letterbox_geometry(width, height, across, down)
    assert 1 <= frame.new_width <= across
    assert 1 <= frame.new_height <= down
    assert frame.new_width == across or frame.new_height == down
    assert 0 <= across - frame.new_width - 2 * frame.left <= 1
    assert 0 <= down - frame.new_height - 2 * frame.top <= 1
    ideal_height, ideal_width = height * across / width, width * down / height
    by_width = ideal_height - 1 < frame.new_height <= max(ideal_height, 1)
    by_height = ideal_width - 1 < frame.new_width <= max(ideal_width, 1)
    assert (frame.new_width == across and by_width) or (frame.new_height == down and by_height)


def test_stretch_fills_and_resize_geometry_chooses_by_mode():
    assert stretch_geometry(7, 5, 32, 64)[4:] == (32, 64, 0, 0)
    assert resize_geometry(7, 5, 32, 64, "stretch") == stretch_geometry(7, 5, 32, 64)
    assert resize_geometry(7, 5, 32, 64, "letterbox") == letterbox_geometry(7, 5, 32, 64)


def test_darknet_inverse_letterbox_halves_an_odd_border():
    """The picture lies at row 70 of 416, but its boxes are brought back from row 70.5."""
    frame = letterbox_geometry(773, 512, 416, 416)
    box_of_whole_picture = np.array([[0.5, (70 + 275 / 2) / 416, 1, 275 / 416]], np.float32)
    _, centre_y, width, height = boxes_image_from_network_unit(box_of_whole_picture, frame)[0]
    assert centre_y == pytest.approx(0.5 - 0.5 / 275, abs=BOX_ROUND_TRIP)
    assert width == pytest.approx(1, abs=BOX_ROUND_TRIP)
    assert height == pytest.approx(1, abs=BOX_ROUND_TRIP)


def test_darknet_inverse_takes_centres_in_double_and_sizes_in_float():
    """Every rounding of correct_yolo_boxes, done one number at a time."""
    frame = letterbox_geometry(773, 512, 416, 416)
    boxes = np.random.default_rng(3).random((200, 4), np.float32)
    ratio = np.float32(275) / np.float32(416)
    wanted_y = [np.float32((float(y) - 141 / 2.0 / 416) / float(ratio)) for y in boxes[:, 1]]
    wanted_h = [h * (np.float32(1) / ratio) for h in boxes[:, 3]]
    result = boxes_image_from_network_unit(boxes, frame)
    assert result.dtype == np.float32
    assert result[:, 1].tolist() == wanted_y
    assert result[:, 3].tolist() == wanted_h
    assert np.array_equal(result[:, [0, 2]], boxes[:, [0, 2]])


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 3000)] * 4, st.sampled_from(MODES))
def test_boxes_survive_the_round_trip(width, height, across, down, mode):
    frame = resize_geometry(width, height, across, down, mode)
    boxes = np.random.default_rng(0).uniform(-0.5, 1.5, (2, 9, 4)).astype(np.float32)
    there = boxes_network_from_image_unit(boxes, frame)
    back = boxes_image_from_network_unit(there, frame)
    # Offsets are up to one, so what float32 rounds off there grows by the inverse ratio.
    ratio = min(frame.new_width / across, frame.new_height / down)
    assert back.shape == boxes.shape
    assert np.abs(back - boxes).max() <= BOX_ROUND_TRIP / ratio


def test_no_boxes_stay_no_boxes():
    frame = stretch_geometry(4, 4, 8, 8)
    assert boxes_image_from_network_unit(np.empty((0, 4), np.float32), frame).shape == (0, 4)


def test_pictures_of_any_form_are_fitted_by_the_same_machine_code():
    image, out = picture(9, 12), np.empty((2, 3, 8, 8), np.float32)
    network_input_numba(image, 8, 8, "letterbox")
    compiled_forms = len(_interpolate_rows.signatures)
    frozen = image.copy()
    frozen.flags.writeable = False
    network_input_numba(frozen, 8, 8, "stretch")
    network_input_numba(image[::-1, ::2], 8, 8, "letterbox", out[1])
    network_input_numba(
        image, 8, 8, "letterbox", np.empty((8, 8, 3), np.float32).transpose(2, 0, 1)
    )
    assert len(_interpolate_rows.signatures) == compiled_forms
    assert image.flags.writeable
