"""Max pooling is a selection: every version gives exactly the same values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers.maxpool import maxpool_forward_numba, maxpool_forward_reference
from tinyyolo3.testing.oracles import maxpool_oracle
from tinyyolo3.testing.strategies import (
    assert_honours_out,
    assert_same_for_any_thread_count,
    feature_maps,
    map_shapes,
    normal_map,
)

FORWARDS = [maxpool_forward_reference, maxpool_forward_numba]


@st.composite
def poolings(draw, max_side=11):
    """A map and the arguments of a pooling that fits it, padding beyond size − 1 included."""
    x = draw(feature_maps(map_shapes(max_images=2, max_channels=3, max_side=max_side)))
    size = draw(st.integers(1, 6))
    needed = max(0, size - min(x.shape[2:]))
    return x, {
        "size": size,
        "stride": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.integers(needed, max(needed, size + 3))),
    }


@settings(max_examples=60, deadline=None)
@given(pooling=poolings())
def test_reference_agrees_with_darknets_loop(pooling):
    x, arguments = pooling
    actual = maxpool_forward_reference(x, **arguments)
    assert actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, maxpool_oracle(x, **arguments))


@settings(max_examples=60, deadline=None)
@given(pooling=poolings(max_side=23), nan_every=st.sampled_from([0, 3]))
def test_numba_agrees_with_the_reference_on_any_layout(pooling, nan_every):
    x, arguments = pooling
    if nan_every:
        x[..., ::nan_every] = np.nan
    actual = maxpool_forward_numba(x, **arguments)
    assert actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, maxpool_forward_reference(x, **arguments))


@pytest.mark.parametrize("size", [5, 9, 13])
def test_spatial_pyramid_pools_agree_and_keep_the_size(size):
    x = normal_map((1, 8, 13, 19), np.float32, seed=1)
    arguments = {"size": size, "stride": (1, 1), "padding": size - 1}
    actual = maxpool_forward_numba(x, **arguments)
    assert actual.shape == x.shape
    np.testing.assert_array_equal(actual, maxpool_forward_reference(x, **arguments))


@settings(max_examples=25, deadline=None)
@given(pooling=poolings(), forward=st.sampled_from(FORWARDS))
def test_out_and_its_surroundings(pooling, forward):
    x, arguments = pooling
    assert_honours_out(lambda out: forward(x, **arguments, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_size_2_stride_1_pads_right_and_bottom_only(forward):
    x = np.array([[[[1, 2, 3], [4, 5, 6], [9, 8, 7]]]], np.float32)
    actual = forward(x, size=2, stride=(1, 1), padding=1)
    np.testing.assert_array_equal(actual, [[[[5, 6, 6], [9, 8, 7], [9, 8, 7]]]])


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_5_by_5_with_size_2_stride_2_gives_3_by_3(forward):
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    actual = forward(x, size=2, stride=(2, 2), padding=1)
    np.testing.assert_array_equal(actual, [[[[6, 8, 9], [16, 18, 19], [21, 23, 24]]]])


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_window_wholly_in_the_padding_gives_the_lowest_float(forward):
    x = np.ones((1, 1, 1, 1), np.float32)
    actual = forward(x, size=1, stride=(1, 1), padding=2)
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(actual, [[[[lowest] * 3, [lowest, 1, lowest], [lowest] * 3]]])


@pytest.mark.parametrize("forward", FORWARDS)
def test_darknet_nan_is_passed_over(forward):
    x = np.array([[[[np.nan, -5.0], [-7.0, np.nan]]]], np.float32)
    np.testing.assert_array_equal(forward(x, size=2, stride=(2, 2), padding=0), [[[[-5.0]]]])
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(
        forward(np.full_like(x, np.nan), size=2, stride=(2, 2), padding=0), [[[[lowest]]]]
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_rows_and_columns_have_their_own_stride(forward):
    x = np.arange(24, dtype=np.float64).reshape(1, 1, 4, 6)
    actual = forward(x, size=2, stride=(2, 3), padding=0)
    np.testing.assert_array_equal(actual, [[[[7, 10], [19, 22]]]])


@pytest.mark.parametrize("stride", [1, 2])
def test_any_number_of_threads_gives_the_same_bits(stride):
    x = normal_map((2, 9, 61, 67), np.float32, seed=2)
    assert_same_for_any_thread_count(
        lambda out: maxpool_forward_numba(x, size=5, stride=(stride, stride), padding=4, out=out)
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_windows_that_cannot_be_are_refused(forward):
    x = np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(InputError, match=r"size=5 does not fit x of shape \(1, 1, 3, 3\)"):
        forward(x, size=5, stride=(1, 1), padding=1)
    for size, stride, padding in ((0, (1, 1), 0), (2, (0, 1), 0), (2, (1, 1), -1)):
        with pytest.raises(InputError, match="must be positive and padding not negative"):
            forward(x, size=size, stride=stride, padding=padding)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (5, 1), (13, 1)])
def test_agrees_with_torch(size, stride):
    torch = pytest.importorskip("torch")
    x = normal_map((2, 3, 16, 20), np.float32, seed=3)
    half = size // 2 if size % 2 else 0
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), size, stride, half).numpy()
    for forward in FORWARDS:
        actual = forward(x, size=size, stride=(stride, stride), padding=2 * half)
        np.testing.assert_array_equal(actual, expected)
