"""Convolution for tests: its definition as loops, and Hypothesis strategies for calls and layers.

Needs `hypothesis`, which only tests install; nothing else in the package imports this module.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from hypothesis import strategies as st

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.shapes import Stride
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.networks import MAX_WIDE_CHANNELS
from tinyyolo3.testing.strategies import DTYPES, layouts, normal_map, seeds


class ConvolutionOptions(TypedDict):
    """The keyword arguments of `conv_forward_reference` besides `out`."""

    stride: Stride
    padding: int
    dilation: int
    groups: int


@dataclass(frozen=True, eq=False)
class Convolution:
    """One call of a convolution; its arguments are those of `conv_forward_reference`."""

    x: FloatArray
    weights: FloatArray
    biases: FloatArray | None
    options: ConvolutionOptions

    @property
    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The positional arguments."""
        return self.x, self.weights, self.biases

    def tolerance(self) -> FloatArray:
        """Bound the rounding error of each output, by `tolerances.summation`."""
        sizes = replace(
            self,
            x=np.abs(self.x),
            weights=np.abs(self.weights),
            biases=None if self.biases is None else np.abs(self.biases),
        )
        terms = self.weights[0].size + 1
        return tolerances.summation(convolution_oracle(sizes), terms, self.x.dtype.type)


def convolution_oracle(call: Convolution) -> FloatArray:
    """Sum each output's products one by one, rounded once (math.fsum); slow, for small maps.

    A product counts only if its pixel is inside the map, so there is no padding to get wrong.
    """
    stride, dilation = call.options["stride"], call.options["dilation"]
    pad = call.options["padding"] * dilation
    images, _, height, width = call.x.shape
    filters, inputs, size, _ = call.weights.shape
    reach = dilation * (size - 1) + 1
    rows = (height + 2 * pad - reach) // stride[0] + 1
    columns = (width + 2 * pad - reach) // stride[1] + 1
    result = np.empty((images, filters, rows, columns), np.float64)
    for n, f, i, j in np.ndindex(*result.shape):
        first = f // (filters // call.options["groups"]) * inputs
        products = [0.0 if call.biases is None else float(call.biases[f])]
        for c, u, v in np.ndindex(inputs, size, size):
            y, x = i * stride[0] + u * dilation - pad, j * stride[1] + v * dilation - pad
            if 0 <= y < height and 0 <= x < width:
                products.append(float(call.weights[f, c, u, v]) * float(call.x[n, first + c, y, x]))
        result[n, f, i, j] = math.fsum(products)
    return result


@st.composite
def convolutions(
    draw: st.DrawFn,
    *,
    depthwise: bool = False,
    max_side: int = 9,
    max_filters: int = 3,
    dtype: type[np.floating[Any]] | None = None,
) -> Convolution:
    """Draw a convolution that fits its map, with any groups, steps, dilation and padding.

    Args:
        draw: given by Hypothesis.
        depthwise: one channel per group.
        max_side: of the map in pixels.
        max_filters: of a group.
        dtype: float32 or float64; None draws one.
    """
    groups = draw(st.integers(1, 4))
    inputs = 1 if depthwise else draw(st.integers(1, 3))
    filters = groups * draw(st.integers(1, max_filters))
    size, padding = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    dilation = draw(st.integers(1, 2)) if size > 1 else 1
    least = max(1, dilation * (size - 1) + 1 - 2 * padding * dilation)
    side = st.integers(least, max(least, max_side))
    shape = (draw(st.integers(1, 2)), groups * inputs, draw(side), draw(side))
    chosen, seed = dtype or draw(st.sampled_from(DTYPES)), draw(seeds())
    return Convolution(
        x=draw(layouts())(normal_map(shape, chosen, seed)),
        weights=normal_map((filters, inputs, size, size), chosen, seed + 1),
        biases=normal_map((filters,), chosen, seed + 2) if draw(st.booleans()) else None,
        options={
            "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        },
    )


@st.composite
def convolution_configs(
    draw: st.DrawFn, *, stride: int | None = None, max_filters: int | None = None
) -> str:
    """Draw the cfg text of a network around one convolution, with or without a shortcut after it.

    Args:
        draw: given by Hypothesis.
        stride: for a 3 x 3 window of this stride; None draws size, strides and dilation.
        max_filters: of the convolutions; None for up to `MAX_WIDE_CHANNELS`.
    """
    counts = (
        st.integers(1, max_filters)
        if max_filters
        else st.one_of(st.integers(1, MAX_WIDE_CHANNELS), st.sampled_from([16, 32, 48, 64]))
    )
    size = 3 if stride else draw(st.integers(1, 4))
    steps = (stride, stride) if stride else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = 1 if stride or size == 1 else draw(st.integers(1, 2))
    padding = draw(st.integers(0, 2))
    side = st.integers(max(1, dilation * (size - 1) + 1 - 2 * padding * dilation), 30)
    channels, filters = draw(counts), draw(counts)
    groups = draw(st.sampled_from([1, 1, *_divisors(math.gcd(channels, filters))]))
    if groups == channels == filters:
        groups = 1  # depthwise convolutions have an algorithm of their own
    activation = draw(st.sampled_from(["linear", "leaky", "relu", "mish"]))
    options = "\n".join(
        [
            f"[convolutional]\nfilters={filters}\nsize={size}\npadding={padding}",
            f"stride_y={steps[0]}\nstride_x={steps[1]}\ndilation={dilation}",
            f"groups={groups}\nactivation={activation}\n",
        ]
    )
    text = f"[net]\nheight={draw(side)}\nwidth={draw(side)}\nchannels={draw(st.integers(1, 4))}\n"
    text += f"[convolutional]\nfilters={channels}\nsize=1\nactivation=leaky\n{options}"
    if draw(st.booleans()):
        text += f"[route]\nlayers=0\n{options}[shortcut]\nfrom=1\nactivation=linear\n"
    return text


def _divisors(number: int) -> list[int]:
    return [d for d in range(2, number + 1) if number % d == 0]
