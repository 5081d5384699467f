"""The region head's activation: against scalar loops, and at the extremes of the softmax."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.region import region_forward_numba, region_forward_reference
from tinyyolo3.parallel import thread_limit
from tinyyolo3.testing.tolerances import ELEMENTARY_FLOAT32, ELEMENTARY_FLOAT64

FORWARDS = [region_forward_reference, region_forward_numba]
SPECIAL = [0.0, 17.0, -90.0, 1e3, -1e3, np.inf, -np.inf, np.nan]


def forward_by_loops(x, anchors, classes, softmax):
    """Write forward_region_layer's formula, and get_region_box's logistic, as float64 loops."""
    n, _, height, width = x.shape
    out = np.array(x, np.float64)
    for image, anchor, row, col in np.ndindex(n, anchors, height, width):
        first = anchor * (5 + classes)
        logits = [float(t) for t in x[image, first : first + 5 + classes, row, col]]
        values = [1 / (1 + math.exp(-t)) for t in logits]
        values[2:4] = logits[2:4]
        if softmax:
            total = math.fsum(math.exp(t) for t in logits[5:])
            values[5:] = [math.exp(t) / total for t in logits[5:]]
        out[image, first : first + 5 + classes, row, col] = values
    return out


@st.composite
def heads(draw, dtype=np.float32):
    anchors, classes = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 2)), anchors * (5 + classes), *rng.integers(1, 5, 2))
    return anchors, classes, rng.normal(0, 4, shape).astype(dtype), rng


@given(heads(np.float64), st.booleans())
@settings(max_examples=40, deadline=None)
def test_reference_is_the_formula_and_keeps_float64(head, softmax):
    anchors, classes, x, _ = head
    y = region_forward_reference(x, anchors=anchors, classes=classes, softmax=softmax)
    assert y.dtype == np.float64
    expected = forward_by_loops(x, anchors, classes, softmax)
    np.testing.assert_allclose(y, expected, rtol=ELEMENTARY_FLOAT64, atol=ELEMENTARY_FLOAT64)


@given(heads(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_numba_equals_reference_in_float32_with_special_values(head, softmax):
    anchors, classes, x, rng = head
    x = np.where(rng.random(x.shape) < 0.1, rng.choice(SPECIAL, x.shape), x).astype(np.float32)
    expected = region_forward_reference(x, anchors=anchors, classes=classes, softmax=softmax)
    y = region_forward_numba(x, anchors=anchors, classes=classes, softmax=softmax)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=ELEMENTARY_FLOAT32, atol=ELEMENTARY_FLOAT32)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1e3, 1e3, -1e3], [0.5, 0.5, 0]),
        ([-1e3, -1e3, -1e3], [1 / 3] * 3),
        ([-np.inf, 0, 0], [0, 0.5, 0.5]),
        ([np.inf, 0, 0], [np.nan] * 3),
        ([-np.inf] * 3, [np.nan] * 3),
        ([0, np.nan, 5], [np.nan] * 3),
    ],
)
def test_softmax_at_the_extremes(forward, scores, expected):
    x = np.array([0, 0, 0, 0, 0, *scores]).reshape(1, 8, 1, 1)
    y = forward(x, anchors=1, classes=3).ravel()[5:]
    np.testing.assert_allclose(y, expected, rtol=ELEMENTARY_FLOAT64)


@pytest.mark.parametrize("forward", FORWARDS)
def test_classes_of_an_anchor_sum_to_one(forward):
    x = np.random.default_rng(0).normal(0, 3, (2, 3 * 25, 4, 5)).astype(np.float32)
    y = forward(x, anchors=3, classes=20).reshape(2, 3, 25, 4, 5)
    np.testing.assert_allclose(y[:, :, 5:].sum(axis=2), 1, rtol=ELEMENTARY_FLOAT32)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("softmax", [True, False])
def test_out_may_be_the_input_and_the_input_may_be_strided(forward, softmax):
    wide = np.random.default_rng(2).normal(size=(4, 20, 6, 6)).astype(np.float32)
    x = wide[::2, 2:16, ::2, ::-1]
    expected = forward(x.copy(), anchors=2, classes=2, softmax=softmax)
    np.testing.assert_array_equal(forward(x, anchors=2, classes=2, softmax=softmax), expected)
    assert forward(x, anchors=2, classes=2, softmax=softmax, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_numba_gives_the_same_bits_on_any_number_of_threads():
    x = np.random.default_rng(1).normal(size=(3, 125, 13, 4)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with thread_limit(threads):
            results.append(region_forward_numba(x, anchors=5, classes=20).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("forward", FORWARDS)
def test_what_is_no_head_is_refused(forward):
    with pytest.raises(InputError, match="region: 2 anchors and 1 classes take 12 channels"):
        forward(np.zeros((1, 6, 2, 2), np.float32), anchors=2, classes=1)
    with pytest.raises(InputError, match="out must be"):
        forward(np.zeros((1, 6, 2, 2)), anchors=1, classes=1, out=np.zeros((1, 6, 2, 3)))
