"""Output shapes: every rule against counting, Darknet's numbers, and what is refused."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinyyolo3.errors import InputError
from tinyyolo3.layers import shapes as rules

sides = st.integers(1, 30)
steps = st.tuples(st.integers(1, 4), st.integers(1, 4))


def count_windows(length, reach, step, before, after):
    """Count the windows that fit between -before and length + after, by placing each."""
    return sum(1 for _ in range(-before, length + after - reach + 1, step))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), sides, sides),
    size=st.integers(1, 7),
    stride=steps,
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_convolution_has_one_output_for_each_place_of_the_kernel(
    shape, size, stride, padding, dilation
):
    reach, pad = dilation * (size - 1) + 1, padding * dilation
    expected = [count_windows(shape[axis], reach, stride[axis - 1], pad, pad) for axis in (1, 2)]
    assume(min(expected) > 0)
    options = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
    assert rules.convolution_shape(shape, filters=6, **options) == (6, *expected)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), sides, sides),
    size=st.integers(1, 7),
    stride=steps,
    padding=st.integers(0, 8),
)
def test_maxpool_has_one_output_for_each_place_of_the_window(shape, size, stride, padding):
    expected = [count_windows(shape[axis], size, stride[axis - 1], 0, padding) for axis in (1, 2)]
    assume(min(expected) > 0)
    found = rules.maxpool_shape(shape, size=size, stride=stride, padding=padding)
    assert found == (shape[0], *expected)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, 416, 416), {"size": 3, "stride": (1, 1), "padding": 1}, (32, 416, 416)),
        ((3, 416, 416), {"size": 3, "stride": (2, 2), "padding": 1}, (32, 208, 208)),
        ((3, 320, 608), {"size": 1, "stride": (1, 1), "padding": 0}, (32, 320, 608)),
        ((3, 9, 9), {"size": 3, "stride": (2, 1), "padding": 1}, (32, 5, 9)),
        ((3, 7, 5), {"size": 7, "stride": (2, 2), "padding": 3}, (32, 4, 3)),
        ((3, 2, 2), {"size": 4, "stride": (1, 1), "padding": 1}, (32, 1, 1)),
    ],
)
def test_convolution_shapes_that_people_know(shape, options, expected):
    assert rules.convolution_shape(shape, filters=32, **options) == expected


@pytest.mark.parametrize(
    ("dilation", "padding", "expected"), [(1, 1, 13), (2, 1, 13), (3, 1, 13), (2, 2, 17), (2, 0, 9)]
)
def test_darknet_padding_counts_in_dilated_pixels(dilation, padding, expected):
    found = rules.convolution_shape(
        (1, 13, 13), filters=1, size=3, stride=(1, 1), padding=padding, dilation=dilation
    )
    assert found == (1, expected, expected)


@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding", "expected"),
    [
        ((8, 416, 416), 2, 2, 1, (8, 208, 208)),
        ((8, 13, 13), 2, 1, 1, (8, 13, 13)),  # yolov3-tiny, layer 11
        ((8, 13, 13), 13, 1, 12, (8, 13, 13)),  # spatial pyramid pooling
        ((8, 5, 5), 2, 2, 1, (8, 3, 3)),
        ((8, 6, 6), 2, 2, 1, (8, 3, 3)),
        ((8, 5, 5), 2, 2, 0, (8, 2, 2)),
        ((8, 7, 7), 3, 2, 2, (8, 4, 4)),
        ((8, 1, 1), 5, 1, 4, (8, 1, 1)),
    ],
)
def test_darknet_maxpool_padding_is_the_total_of_both_sides(shape, size, stride, padding, expected):
    found = rules.maxpool_shape(shape, size=size, stride=(stride, stride), padding=padding)
    assert found == expected


def test_maxpool_steps_are_vertical_then_horizontal():
    assert rules.maxpool_shape((2, 8, 8), size=2, stride=(4, 2), padding=0) == (2, 2, 4)


def test_the_remaining_layers_shapes():
    assert rules.avgpool_shape((7, 5, 3)) == (7, 1, 1)
    assert rules.upsample_shape((7, 5, 3), stride=2) == (7, 10, 6)
    assert rules.reorg_shape((8, 6, 4), stride=2) == (32, 3, 2)
    assert rules.sam_shape((7, 5, 3), (7, 5, 3)) == (7, 5, 3)
    assert rules.scale_channels_shape((7, 1, 1), (7, 5, 3)) == (7, 5, 3)
    assert rules.scale_channels_shape((1, 5, 3), (7, 5, 3), scale_wh=True) == (7, 5, 3)


def test_route_adds_channels_up():
    assert rules.route_shape([(7, 5, 3)]) == (7, 5, 3)
    assert rules.route_shape([(7, 5, 3), (2, 5, 3), (1, 5, 3)]) == (10, 5, 3)


def test_darknet_route_groups_cut_each_input():
    assert rules.route_shape([(8, 5, 3), (4, 5, 3)], groups=4) == (3, 5, 3)
    with pytest.raises(InputError, match="groups=4 must divide the 6 channels"):
        rules.route_shape([(8, 5, 3), (6, 5, 3)], groups=4)


def test_darknet_shortcut_has_the_first_shape_whatever_is_added():
    assert rules.shortcut_shape((8, 6, 4), (8, 6, 4)) == (8, 6, 4)
    assert rules.shortcut_shape((8, 6, 4), (3, 6, 4)) == (8, 6, 4)
    assert rules.shortcut_shape((8, 6, 4), (3, 12, 8)) == (8, 6, 4)
    assert rules.shortcut_shape((8, 12, 8), (3, 6, 4)) == (8, 12, 8)


CONVOLUTION = {"filters": 4, "size": 3, "stride": (1, 1), "padding": 0}
REFUSED = {
    "groups that do not divide the channels": (
        lambda: rules.convolution_shape((3, 8, 8), **CONVOLUTION, groups=2),
        "groups=2 must divide the 3 input channels and the 4 filters",
    ),
    "groups that do not divide the filters": (
        lambda: rules.convolution_shape((3, 8, 8), **CONVOLUTION, groups=3),
        "groups=3 must divide the 3 input channels and the 4 filters",
    ),
    "a kernel higher than the map": (
        lambda: rules.convolution_shape((3, 2, 8), **CONVOLUTION),
        "a 3x3 kernel does not fit on its input 8x2x3",
    ),
    "a kernel wider than the map": (
        lambda: rules.convolution_shape((3, 8, 2), **CONVOLUTION),
        "a 3x3 kernel does not fit on its input 2x8x3",
    ),
    "a dilated kernel": (
        lambda: rules.convolution_shape((3, 8, 8), **CONVOLUTION, dilation=4),
        "a 9x9 kernel does not fit on its input 8x8x3",
    ),
    "a window": (
        lambda: rules.maxpool_shape((3, 8, 4), size=6, stride=(1, 1), padding=1),
        "a 6x6 window does not fit on its input 4x8x3",
    ),
    "a route of different heights": (
        lambda: rules.route_shape([(1, 5, 3), (1, 4, 3)]),
        "joins maps of different size: 3x5x1 with 3x4x1",
    ),
    "a shortcut by no whole factor": (
        lambda: rules.shortcut_shape((1, 6, 6), (1, 4, 4)),
        "adds maps whose sizes are not one multiple of the other: 6x6x1 and 4x4x1",
    ),
    "a shortcut by two factors": (
        lambda: rules.shortcut_shape((1, 6, 6), (1, 6, 12)),
        "adds maps whose sizes are not one multiple of the other: 6x6x1 and 12x6x1",
    ),
    "a shortcut larger one way and smaller the other": (
        lambda: rules.shortcut_shape((1, 6, 3), (1, 3, 6)),
        "adds maps whose sizes are not one multiple of the other: 3x6x1 and 6x3x1",
    ),
    "factors for other channels": (
        lambda: rules.scale_channels_shape((6, 1, 1), (7, 5, 3)),
        "scales 3x5x7 by 1x1x6, expected 1x1x7",
    ),
    "factors for other pixels": (
        lambda: rules.scale_channels_shape((1, 3, 5), (7, 5, 3), scale_wh=True),
        "scales 3x5x7 by 5x3x1, expected 3x5x1",
    ),
    "a product of different shapes": (
        lambda: rules.sam_shape((6, 5, 3), (7, 5, 3)),
        "multiplies 3x5x6 with 3x5x7, expected equal shapes",
    ),
    "a reorg of odd height": (
        lambda: rules.reorg_shape((4, 5, 4), stride=2),
        "stride=2 must divide",
    ),
    "a reorg of odd width": (
        lambda: rules.reorg_shape((4, 4, 5), stride=2),
        "stride=2 must divide",
    ),
    "a reorg of few channels": (lambda: rules.reorg_shape((2, 4, 4), stride=2), "of 4x4x2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layers_that_do_not_fit_are_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
