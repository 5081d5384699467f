"""The yolo head's activation: against scalar loops, at the extremes, and Darknet's quirks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.yolo import (
    logistic_reference,
    logistic_scalar,
    yolo_forward_numba,
    yolo_forward_reference,
)
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64

FORWARDS = [yolo_forward_reference, yolo_forward_numba]
SPECIAL = [0.0, -0.0, 17.0, -90.0, 1e3, -1e3, np.inf, -np.inf, np.nan]


def sigmoid(t):
    if math.isnan(t):
        return t
    return 1 / (1 + math.exp(-t)) if t > -700 else 0.0


def forward_by_loops(x, classes, scale, new_coords):
    """Write forward_yolo_layer's formula as float64 loops over every number."""
    out = np.empty(x.shape, np.float64)
    for image, channel, row, col in np.ndindex(x.shape):
        t = float(x[image, channel, row, col])
        entry = channel % (5 + classes)
        value = t if new_coords or entry in (2, 3) else sigmoid(t)
        out[image, channel, row, col] = (
            value * scale - (scale - 1) / 2 if entry in (0, 1) else value
        )
    return out


@st.composite
def heads(draw, dtype=np.float32):
    anchors, classes = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 2)), anchors * (5 + classes), *rng.integers(1, 5, 2))
    return anchors, classes, rng.normal(0, 4, shape).astype(dtype), rng


options = st.fixed_dictionaries(
    {"scale_x_y": st.sampled_from([1.0, 1.05, 1.2, 2.0]), "new_coords": st.booleans()}
)


@given(heads(np.float64), options)
@settings(max_examples=40, deadline=None)
def test_reference_is_the_formula_and_keeps_float64(head, option):
    anchors, classes, x, _ = head
    y = yolo_forward_reference(x, anchors=anchors, classes=classes, **option)
    expected = forward_by_loops(x, classes, option["scale_x_y"], option["new_coords"])
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, expected, rtol=ELEMENTARY_FLOAT64, atol=ELEMENTARY_FLOAT64)


@given(heads(), options)
@settings(max_examples=40, deadline=None)
def test_numba_equals_reference_in_float32_with_special_values(head, option):
    anchors, classes, x, rng = head
    x = np.where(rng.random(x.shape) < 0.2, rng.choice(SPECIAL, x.shape), x).astype(np.float32)
    expected = yolo_forward_reference(x, anchors=anchors, classes=classes, **option)
    y = yolo_forward_numba(x, anchors=anchors, classes=classes, **option)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=ELEMENTARY_FLOAT32, atol=ELEMENTARY_FLOAT32)


def test_logistic_saturates_and_keeps_nan_without_a_warning():
    logits = np.array([-np.inf, -1e30, -1e3, 0, 1e3, 1e30, np.inf, np.nan], np.float32)
    expected = [0, 0, 0, 0.5, 1, 1, 1, np.nan]
    np.testing.assert_array_equal(logistic_reference(logits), expected)
    np.testing.assert_array_equal([logistic_scalar(t) for t in logits], expected)


def test_logistic_keeps_its_relative_precision_far_below_zero():
    np.testing.assert_allclose(
        logistic_reference(np.array([-80.0])), math.exp(-80), rtol=ELEMENTARY_FLOAT64
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_new_coords_scales_the_centre_but_activates_nothing(forward):
    x = np.array([0.5, 0.25, 0.75, 0.1, 0.9, 0.3], np.float32).reshape(1, 6, 1, 1)
    y = forward(x, anchors=1, classes=1, scale_x_y=2.0, new_coords=True)
    np.testing.assert_array_equal(y.ravel()[:2], [0.5, 0.0])
    np.testing.assert_array_equal(y.ravel()[2:], x.ravel()[2:])


@pytest.mark.parametrize("forward", FORWARDS)
def test_scale_x_y_keeps_the_middle_of_the_cell(forward):
    x = np.zeros((1, 6, 2, 2), np.float32)
    y = forward(x, anchors=1, classes=1, scale_x_y=1.5)
    np.testing.assert_array_equal(y[:, :2], 0.5)


@pytest.mark.parametrize("forward", FORWARDS)
def test_out_may_be_the_input_or_a_slice_and_the_input_may_be_strided(forward):
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(4, 20, 6, 6)).astype(np.float32)
    x = wide[::2, 2:16, ::2, ::-1]
    expected = forward(x.copy(), anchors=2, classes=2)
    np.testing.assert_array_equal(forward(x, anchors=2, classes=2), expected)
    buffer = np.zeros_like(wide)
    out = buffer[::2, 2:16, ::2, ::-1]
    assert forward(x, anchors=2, classes=2, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert forward(x, anchors=2, classes=2, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_numba_gives_the_same_bits_on_any_number_of_threads():
    x = np.random.default_rng(1).normal(size=(2, 255, 5, 4)).astype(np.float32)
    results = []
    for threads in (1, 2, 5):
        with thread_limit(threads):
            results.append(yolo_forward_numba(x, anchors=3, classes=80).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(
    ("x", "anchors", "classes", "out", "message"),
    [
        (np.zeros((1, 7, 2, 2), np.float32), 1, 1, None, "take 6 channels, x has 7"),
        (np.zeros((6, 2, 2), np.float32), 1, 1, None, "feature map"),
        (np.zeros((1, 6, 2, 2), np.int32), 1, 1, None, "float32"),
        (np.zeros((1, 6, 2, 2), np.float32), 0, 1, None, "needs anchors"),
        (np.zeros((1, 6, 2, 2), np.float32), 1, 1, np.zeros((1, 6, 2, 2)), "out must be"),
    ],
)
def test_what_is_no_head_is_refused(forward, x, anchors, classes, out, message):
    with pytest.raises(InputError, match=message):
        forward(x, anchors=anchors, classes=classes, out=out)
