"""Convolution: the reference against its definition, im2col against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings

from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution import im2col
from tinyyolo3.layers.convolution.im2col import conv_forward_im2col
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing.convolutions import Convolution, convolution_oracle, convolutions
from tinyyolo3.testing.strategies import (
    LAYOUTS,
    assert_honours_out,
    assert_same_for_any_thread_count,
    guarded_output,
    normal_map,
)

FORWARDS = [conv_forward_reference, conv_forward_im2col]
#: Odd everywhere: two images, two groups, different steps, dilation and padding.
ODD = {"stride": (2, 1), "padding": 1, "dilation": 2, "groups": 2}
PLAIN = {"stride": (1, 1), "padding": 0, "dilation": 1, "groups": 1}


def odd_arrays(dtype=np.float32):
    x = normal_map((2, 6, 11, 9), dtype, seed=1)
    return x, normal_map((4, 3, 3, 3), dtype, seed=2), normal_map((4,), dtype, seed=3)


@settings(max_examples=60, deadline=None)
@given(call=convolutions(max_side=6))
def test_reference_is_the_definition(call):
    actual = conv_forward_reference(*call.arrays, **call.options)
    expected = convolution_oracle(call)
    assert actual.dtype == call.x.dtype
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= call.tolerance())


@settings(max_examples=60, deadline=None)
@given(call=convolutions())
def test_im2col_agrees_with_the_reference_on_any_layout(call):
    actual = conv_forward_im2col(*call.arrays, **call.options)
    expected = conv_forward_reference(*call.arrays, **call.options)
    assert actual.dtype == call.x.dtype
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= 2 * call.tolerance())


@pytest.mark.parametrize("block_elements", [1, 500, 1000, 1300])
def test_im2col_gives_the_same_in_any_number_of_blocks(monkeypatch, block_elements):
    x, weights, biases = odd_arrays(np.float64)
    whole = conv_forward_im2col(x, weights, biases, **ODD)
    sizes = []
    multiply = np.matmul

    def counting_matmul(a, b, out):
        sizes.append(b.shape[1])
        return multiply(a, b, out=out)

    monkeypatch.setattr(im2col, "BLOCK_ELEMENTS", block_elements)
    monkeypatch.setattr(np, "matmul", counting_matmul)
    parts = conv_forward_im2col(x, weights, biases, **ODD)
    rows_at_a_time = max(1, block_elements // (weights[0].size * whole.shape[3]))
    assert len(sizes) == 2 * 2 * -(-whole.shape[2] // rows_at_a_time)  # images, groups, blocks
    assert sum(sizes) == 2 * 2 * whole.shape[2] * whole.shape[3]
    bound = 2 * Convolution(x, weights, biases, ODD).tolerance()
    assert np.all(np.abs(parts - whole) <= bound)


@pytest.mark.parametrize("filters", [3, 60])
@pytest.mark.parametrize("piece", [1, 7, 20])
def test_im2col_gives_the_same_in_pieces_of_any_size(monkeypatch, filters, piece):
    x = normal_map((1, 5, 4, 6), np.float64, seed=1)
    for size in (1, 3):
        weights = normal_map((filters, 5, size, size), np.float64, seed=2)
        call = Convolution(x, weights, None, PLAIN | {"padding": size // 2})
        whole = conv_forward_im2col(*call.arrays, **call.options)
        with monkeypatch.context() as patched:
            patched.setattr(im2col, "PIECE_LENGTH", piece)
            patched.setattr(im2col, "PIECE_OPERATIONS", 1)
            parts = conv_forward_im2col(*call.arrays, **call.options)
        assert np.all(np.abs(parts - whole) <= 2 * call.tolerance())


def test_im2col_multiplies_a_pointwise_layer_without_copying_patches(monkeypatch):
    def refuse(*_):
        raise AssertionError("patches were made")

    monkeypatch.setattr(im2col, "_multiply_patches", refuse)
    x, weights = normal_map((1, 4, 3, 5), np.float64, 1), normal_map((2, 4, 1, 1), np.float64, 2)
    expected = np.einsum("fc,nchw->nfhw", weights[..., 0, 0], x)
    bound = 2 * Convolution(x, weights, None, PLAIN).tolerance()
    assert np.all(np.abs(conv_forward_im2col(x, weights, None) - expected) <= bound)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("size", [1, 3])
def test_result_goes_to_a_channel_slice_and_nowhere_else(forward, size):
    x, weights = (
        normal_map((2, 4, 7, 6), np.float32, 1),
        normal_map((5, 4, size, size), np.float32, 2),
    )
    biases = normal_map((5,), np.float32, 3)
    assert_honours_out(lambda out: forward(x, weights, biases, padding=size // 2, out=out))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_result_goes_to_an_array_of_any_layout(forward, layout):
    x, weights, biases = odd_arrays()
    expected = forward(x, weights, biases, **ODD)
    out = LAYOUTS[layout](np.full_like(expected, np.nan))
    assert forward(x, weights, biases, **ODD, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_im2col_writes_a_channel_slice_in_place(monkeypatch):
    x, weights, biases = odd_arrays()
    guarded = guarded_output(
        (2, 4, *conv_forward_im2col(x, weights, biases, **ODD).shape[2:]), "f4"
    )
    targets = []
    multiply = np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda a, b, out: (targets.append(out), multiply(a, b, out=out))
    )
    conv_forward_im2col(x, weights, biases, **ODD, out=guarded.view)
    assert targets
    assert all(np.shares_memory(target, guarded.buffer) for target in targets)


@pytest.mark.parametrize("forward", FORWARDS)
def test_no_images_give_no_outputs(forward):
    x, weights, biases = odd_arrays()
    assert forward(x[:0], weights, biases, **ODD).shape == (0, 4, 6, 9)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("size", [1, 3])
def test_thread_count_does_not_change_a_bit(forward, size):
    x = normal_map((1, 16, 61, 67), np.float32, seed=1)
    weights = normal_map((32, 16, size, size), np.float32, seed=2)
    assert_same_for_any_thread_count(
        lambda out: forward(x, weights, None, padding=size // 2, out=out)
    )


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((3, 8, 8), np.float32)}, "expected (N, C, H, W)"),
        ({"weights": np.zeros((4, 27), np.float32)}, "expected (N, C, H, W)"),
        ({"weights": np.zeros((4, 3, 3, 1), np.float32)}, "expected (N, C, H, W)"),
        ({"weights": np.zeros((4, 2, 3, 3), np.float32)}, "need 2 input channels, found 3"),
        ({"biases": np.zeros(3, np.float32)}, "expected 4 biases"),
        ({"biases": np.zeros((4, 1), np.float32)}, "expected 4 biases"),
        ({"weights": np.zeros((4, 3, 9, 9), np.float32)}, "a 9x9 kernel does not fit"),
        ({"weights": np.zeros((4, 1, 3, 3), np.float32), "groups": 3}, "must divide"),
        ({"groups": 0}, "must be positive"),
        ({"stride": (1, 0)}, "must be positive"),
        ({"dilation": 0}, "must be positive"),
        ({"padding": -1}, "padding not negative"),
        ({"out": np.zeros((1, 4, 6, 7), np.float32)}, "out must be float32 of shape (1, 4, 6, 6)"),
        ({"out": np.zeros((1, 4, 6, 6))}, "out must be float32"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(forward, change, message):
    arguments = {
        "x": np.zeros((1, 3, 8, 8), np.float32),
        "weights": np.zeros((4, 3, 3, 3), np.float32),
        "biases": None,
    }
    with pytest.raises(InputError) as caught:
        forward(**(arguments | change))
    assert message in str(caught.value)
