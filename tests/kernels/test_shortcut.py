"""kernels/shortcut.cu against the plain reference, and its activation after that."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import download_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.shortcut import shortcut_forward_cuda, shortcut_forward_reference
from tinyyolo3.testing.activations import assert_activations_close
from tinyyolo3.testing.kernels import channel_counts, kernel_map, margins, run_on_maps

Shortcut = tuple[list[FloatArray], dict[str, Any]]


@st.composite
def shortcuts(draw: st.DrawFn) -> Shortcut:
    """A map with one to three others, of its shape or larger, smaller, deeper; alpha and beta."""
    images, height, width = draw(st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4)))
    channels, k = draw(channel_counts), draw(st.integers(1, 3))
    equal = draw(st.booleans())
    maps = [kernel_map((images, channels, k * height, k * width), seed=0)]
    for seed in range(1, 1 + draw(st.integers(1, 3))):
        factor = k if equal else draw(st.sampled_from([1, k, 2 * k]))
        depth = channels if equal else draw(channel_counts)
        maps.append(kernel_map((images, depth, factor * height, factor * width), seed))
    alpha = draw(st.sampled_from([1.0, 0.5, -0.3])) if len(maps) == 2 else 1.0
    return maps, {"alpha": alpha, "beta": draw(st.sampled_from([1.0, 2.0, 0.7]))}


def add(target: Target, shortcut: Shortcut, margin: int = 0, **more: str) -> FloatArray:
    maps, options = shortcut

    def launch(x: Any, *others_and_out: Any) -> None:
        *others, out = others_and_out
        shortcut_forward_cuda(target, x, others, out, **options, **more)

    return run_on_maps(target, launch, maps, maps[0].shape, margin)


@settings(max_examples=50, deadline=None)
@given(shortcut=shortcuts(), margin=margins)
def test_the_kernel_adds_as_the_reference(target: Target, shortcut: Shortcut, margin: int) -> None:
    (x, *others), options = shortcut
    expected = shortcut_forward_reference(x, others, **options)
    np.testing.assert_array_equal(add(target, shortcut, margin), expected)


@settings(max_examples=30, deadline=None)
@given(shortcut=shortcuts(), margin=margins)
def test_halves_are_added_as_floats(target: Target, shortcut: Shortcut, margin: int) -> None:
    maps, options = [x.astype(np.float16) for x in shortcut[0]], shortcut[1]
    expected = maps[0]
    for other in maps[1:]:  # what one launch stored, the next one reads
        wide = [x.astype(np.float32) for x in (expected, other)]
        expected = shortcut_forward_reference(wide[0], wide[1:], **options).astype(np.float16)
    np.testing.assert_array_equal(add(target, (maps, options), margin), expected)


@settings(max_examples=20, deadline=None)
@given(shortcut=shortcuts(), activation=st.sampled_from(["leaky", "logistic", "mish"]))
def test_the_sum_of_all_is_activated(target: Target, shortcut: Shortcut, activation: str) -> None:
    (x, *others), options = shortcut
    total = shortcut_forward_reference(x, others, **options)
    expected = activation_forward_reference(total, activation)
    actual = add(target, shortcut, activation=activation)
    assert_activations_close(actual, expected.astype(np.float64))


@pytest.mark.parametrize("channels", [3, 8])
def test_the_output_may_be_the_input(target: Target, channels: int) -> None:
    x, a, b = (kernel_map((2, channels, 5, 3), seed) for seed in range(3))
    device = upload_map(target, x)
    others = [upload_map(target, a), upload_map(target, b)]
    shortcut_forward_cuda(target, device, others, device)
    expected = shortcut_forward_reference(x, [a, b])
    np.testing.assert_array_equal(download_map(target, device), expected)
