"""Hue, saturation and exposure, against the standard library's HSV."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.testing.tolerances import COLOURS_FLOAT64
from tinyyolo3.train.augmentation import Augmentation
from tinyyolo3.train.colours import Colours, shift_colours_reference, shift_row
from tinyyolo3.train.draws import draw_colours

hues = st.floats(-1, 1, width=16)
factors = st.floats(0.125, 4, width=16)
#: Bytes, with the greys and the ties in which formulas differ.
pixels = st.lists(
    st.tuples(*[st.sampled_from([0, 1, 100, 128, 254, 255])] * 3), min_size=1, max_size=9
)


@settings(deadline=None)
@given(pixels, hues, factors, factors)
def test_colours_change_as_by_the_standard_library(
    some: list[tuple[int, int, int]], hue: float, saturation: float, exposure: float
) -> None:
    planes = np.array(some, np.float64).T / 255
    found = shift_colours_reference(planes, Colours(hue, saturation, exposure))
    for column, (r, g, b) in enumerate(planes.T):
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        # Saturations above 1 leave the cube; what is below 0 then is cut, as image.c does.
        wanted = colorsys.hsv_to_rgb((h + hue) % 1, s * saturation, v * exposure)
        np.testing.assert_allclose(
            found[:, column], np.clip(wanted, 0, 1), atol=COLOURS_FLOAT64 * 4 * 4
        )


@settings(deadline=None)
@given(pixels, hues, factors, factors)
def test_the_compiled_row_has_the_references_bits(
    some: list[tuple[int, int, int]], hue: float, saturation: float, exposure: float
) -> None:
    planes = (np.array(some, np.float64).T / 255).astype(np.float32)[:, None, :]
    wanted = shift_colours_reference(planes, Colours(hue, saturation, exposure))
    out = np.repeat(np.pad(planes, ((0, 0), (0, 0), (1, 1)), constant_values=0.25), 2, axis=1)
    left, right = 1, planes.shape[2] + 1
    numbers = np.array([6 * hue, saturation, exposure], np.float32)
    shift_row(out, 1, left, right, *numbers)
    if Colours(hue, saturation, exposure) != Colours():
        np.testing.assert_array_equal(out[:, 1:, left:right], wanted)
    assert (out[:, :, [0, -1]] == 0.25).all()
    np.testing.assert_array_equal(out[:, :1, left:right], planes)


def test_hues_below_red_go_around_the_circle():
    """Darknet's build with OpenCV stops at red."""
    orange_to_magenta = Colours(hue=-2 / 12)
    found = shift_colours_reference(np.array([1.0, 0.5, 0.0]), orange_to_magenta)
    np.testing.assert_allclose(found, [1, 0, 0.5], atol=COLOURS_FLOAT64)


def test_no_change_is_none_at_all():
    planes = np.random.default_rng(0).random((3, 5), np.float32)
    np.testing.assert_array_equal(shift_colours_reference(planes, Colours()), planes)


@given(st.integers(0, 99))
def test_drawn_colours_keep_within_the_options(seed: int) -> None:
    options = Augmentation(hue=0.1, saturation=1.5, exposure=3)
    found = draw_colours(options, np.random.default_rng(seed))
    assert abs(found.hue) <= 0.1
    assert 1 / 1.5 <= found.saturation <= 1.5
    assert 1 / 3 <= found.exposure <= 3


def test_scales_go_up_as_often_as_down():
    random = np.random.default_rng(0)
    options = Augmentation(hue=0.1, saturation=1.5, exposure=3)
    found = np.array([draw_colours(options, random) for _ in range(400)])
    assert (found > (0, 1, 1)).mean(axis=0) == pytest.approx(0.5, abs=0.1)
    assert np.corrcoef(found.T)[np.triu_indices(3, 1)] == pytest.approx(0, abs=0.2)
