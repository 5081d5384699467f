"""kernels/convolution_first.cu against resizing and then convolving, as the references do both."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import InputError
from tinyyolo3.image.geometry import resize_geometry
from tinyyolo3.image.resize_cuda import FRAME, fill_frames
from tinyyolo3.layers.convolution.cuda_first import (
    STRIDES,
    conv_forward_first_cuda,
    pack_first_weights,
)
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, PRECISIONS, Precision
from tinyyolo3.testing.first_layers import FirstCase
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import seeds


def check_first(target: Target, case: FirstCase, margin: int = 0) -> None:
    """Check the kernel's result against the bound, and that nothing else was written."""
    expected, bound = case.expected()
    actual = run_on_maps(
        target,
        lambda out: case.prepare(target, out)(),
        *([], expected.shape, margin, case.precision.dtype),
    )
    assert np.all(np.abs(actual - expected) <= bound)


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@settings(max_examples=12, deadline=None)
@given(
    pictures=st.lists(sizes, min_size=1, max_size=2),
    network=st.tuples(st.integers(1, 70), st.integers(1, 40)),
    mode=st.sampled_from(["letterbox", "stretch"]),
    filters=st.one_of(st.integers(1, 9), st.sampled_from([16, 32, 33, 70])),
    stride=st.integers(1, 2),
    padding=st.integers(1, 2),
    activation=st.sampled_from(["linear", "leaky"]),
    margin=margins,
    seed=seeds(),
)
@example([(240, 3)], (5, 24), "stretch", 16, 1, 1, "leaky", 0, 1)  # Darknet's dark last row
@example([(30, 40), (9, 3)], (64, 32), "letterbox", 32, 2, 0, "leaky", 8, 2)
def test_it_resizes_and_convolves_as_the_references(
    target: Target, precision: Precision, pictures, network, mode, filters, stride, padding,
    activation, margin, seed,
) -> None:  # fmt: skip
    case = FirstCase(pictures, network, mode, filters, stride, padding, activation, precision, seed)
    check_first(target, case, margin)


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("stride", STRIDES)
def test_the_input_is_darknets_to_the_last_bit(
    quick_target: Target, precision: Precision, stride: int
) -> None:
    """Filters that pick one number each put the input itself out."""
    case = FirstCase(
        [(29, 37), (7, 90)], (50, 21), "letterbox", 27, stride, 1, "linear", precision, 4
    )
    picking = np.eye(27, dtype=np.float32).reshape(27, 3, 3, 3)
    case = replace(case, given_weights=picking, given_biases=np.zeros(27, np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(case.fitted(), ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3)
    )[:, :, ::stride, ::stride]
    images, channels, height, width = windows.shape[:4]
    expected = windows.transpose(0, 1, 4, 5, 2, 3).reshape(images, 9 * channels, height, width)
    actual = run_on_maps(
        quick_target, lambda out: case.prepare(quick_target, out)(), [], expected.shape,
        dtype=precision.dtype,
    )  # fmt: skip
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mode", ["check", "fast"])
def test_the_order_of_threads_does_not_matter(mode: str) -> None:
    for seed in range(3):
        case = FirstCase([(13, 50)], (70, 19), "letterbox", 40, 1, 1, "leaky", FP16, 3)
        check_first(HostTarget(mode, seed), case)


def test_other_convolutions_are_refused(quick_target: Target) -> None:
    def launch(channels: int, stride: tuple[int, int], dtype: type) -> None:
        frames = np.empty(1, FRAME)
        fill_frames(frames, [resize_geometry(4, 4, 8, 8, "stretch")])
        conv_forward_first_cuda(
            *(quick_target, quick_target.upload(np.zeros(48, np.uint8))),
            quick_target.upload(frames.view(np.uint8)),
            empty_map(quick_target, 1, 8, 8, channels, 8, np.float16),
            quick_target.upload(pack_first_weights(np.zeros((8, 3, 3, 3), np.float32), FP16)),
            quick_target.upload(np.zeros(8, np.float32)),
            empty_map(quick_target, 1, 8, 8, 8, 8, dtype),
            precision=FP16,
            stride=stride,
            padding=1,
        )

    launch(3, (1, 1), np.float16)
    with pytest.raises(InputError, match="3 channels and strides of 1 or 2, not 4 channels"):
        launch(4, (1, 1), np.float16)
    with pytest.raises(InputError, match=r"not 3 channels and \(1, 2\)"):
        launch(3, (1, 2), np.float16)
    with pytest.raises(InputError, match="out must be of float16, not float32"):
        launch(3, (1, 1), np.float32)


def test_a_weight_that_overflows_is_refused() -> None:
    with pytest.raises(InputError, match="a weight of 70000 overflows in fp16"):
        pack_first_weights(np.full((1, 3, 3, 3), 70000, np.float32), FP16)
