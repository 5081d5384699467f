"""Hypothesis strategies for feature maps, and buffers that notice a write outside their bounds.

Hypothesis chooses shapes, memory layout and a seed, and shrinks those; the values come from a
seeded generator, because a single number is seldom why a layer fails. Needs `hypothesis`, which
only tests install; nothing else in the package imports this module.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.parallel import thread_limit

DTYPES: tuple[type[np.floating[Any]], ...] = (np.float32, np.float64)


def seeds() -> st.SearchStrategy[int]:
    """Draw a seed for `normal_map`."""
    return st.integers(0, 2**32 - 1)


def map_shapes(
    *, max_images: int = 3, max_channels: int = 6, max_side: int = 19
) -> st.SearchStrategy[tuple[int, int, int, int]]:
    """Draw (N, C, H, W), each from 1 up: odd sizes, single rows and single cells included."""
    return st.tuples(
        st.integers(1, max_images),
        st.integers(1, max_channels),
        st.integers(1, max_side),
        st.integers(1, max_side),
    )


def normal_map(shape: tuple[int, ...], dtype: type[np.floating[Any]], seed: int) -> FloatArray:
    """Return a C-contiguous array of normally distributed values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def _as_is(x: FloatArray) -> FloatArray:
    return x


def _as_channel_slice(x: FloatArray) -> FloatArray:
    n, c, h, w = x.shape
    buffer = np.full((n, c + 3, h, w), np.nan, x.dtype)
    buffer[:, 2 : 2 + c] = x
    return buffer[:, 2 : 2 + c]


def _as_channels_last(x: FloatArray) -> FloatArray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _as_every_second_column(x: FloatArray) -> FloatArray:
    buffer = np.full((*x.shape[:3], 2 * x.shape[3]), np.nan, x.dtype)
    buffer[..., ::2] = x
    return buffer[..., ::2]


def _as_reversed_rows(x: FloatArray) -> FloatArray:
    return np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1]


#: Ways to hold the same feature map in memory; each takes and gives (N, C, H, W).
LAYOUTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "contiguous": _as_is,
    "channel slice": _as_channel_slice,
    "channels last": _as_channels_last,
    "every second column": _as_every_second_column,
    "reversed rows": _as_reversed_rows,
}


def layouts() -> st.SearchStrategy[Callable[[FloatArray], FloatArray]]:
    """Draw one of `LAYOUTS`, to be applied to a map."""
    return st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.__getitem__)


@st.composite
def feature_maps(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[tuple[int, int, int, int]] | None = None,
    dtype: type[np.floating[Any]] | None = None,
) -> FloatArray:
    """Draw a feature map of normally distributed values in one of `LAYOUTS`.

    Args:
        draw: given by Hypothesis.
        shapes: where (N, C, H, W) comes from, `map_shapes()` by default.
        dtype: float32 or float64; None draws one.
    """
    shape = draw(shapes if shapes is not None else map_shapes())
    chosen = dtype if dtype is not None else draw(st.sampled_from(DTYPES))
    layout = draw(layouts())
    return layout(normal_map(shape, chosen, draw(seeds())))


@dataclass(frozen=True)
class GuardedOutput:
    """An `out` array inside a larger buffer, and the buffer's bytes around it.

    Attributes:
        buffer: the whole memory, filled with a pattern.
        view: the part to hand over as `out`.
        outside: bool, `buffer`'s shape, True where nothing may be written.
    """

    buffer: FloatArray
    view: FloatArray
    outside: NDArray[np.bool_]

    def surroundings_are_intact(self) -> bool:
        """Return whether every element outside the view still has its pattern."""
        return bool(np.all(self.buffer[self.outside] == _PATTERN))


_PATTERN = -123.0


def guarded_output(
    shape: tuple[int, ...], dtype: type[np.floating[Any]] | np.dtype[Any]
) -> GuardedOutput:
    """Return an output of `shape` as a channel slice, two channels in and one from the end."""
    n, c, h, w = shape
    buffer = np.full((n, c + 3, h, w), _PATTERN, dtype)
    outside = np.ones(buffer.shape, np.bool_)
    outside[:, 2 : 2 + c] = False
    return GuardedOutput(buffer, buffer[:, 2 : 2 + c], outside)


def assert_honours_out(forward: Callable[[FloatArray | None], FloatArray]) -> None:
    """Check that a layer writes its result to `out`, returns that, and touches nothing around it.

    Args:
        forward: calls the layer with its argument as `out`, None for a new array.

    Raises:
        AssertionError: it does not.
    """
    expected = forward(None)
    guarded = guarded_output(expected.shape, expected.dtype)
    returned = forward(guarded.view)
    assert returned is guarded.view, "the array returned is not out"
    np.testing.assert_array_equal(guarded.view, expected)
    assert guarded.surroundings_are_intact(), "something outside out was written"


def assert_same_for_any_thread_count(forward: Callable[[FloatArray | None], FloatArray]) -> None:
    """Check that a layer gives the same bits whether 1, 2, 3 or 7 threads share the work.

    Args:
        forward: calls the layer, on maps large enough to be shared, with its argument as `out`.

    Raises:
        AssertionError: it does not.
    """
    with thread_limit(1):
        expected = forward(None)
    for threads in (2, 3, 7):
        out = np.full_like(expected, np.nan)  # new memory might hold the last run's answer
        with thread_limit(threads):
            forward(out)
        assert out.tobytes() == expected.tobytes(), f"{threads} threads give other bits than one"
