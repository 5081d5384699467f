"""Convolutions with what kernels do to their sums on the way to memory, and how to run them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyyolo3.arrays import FloatArray
from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.layers.shapes import Stride
from tinyyolo3.testing import tolerances
from tinyyolo3.testing.convolutions import Convolution, convolutions
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import normal_map

#: Activations that add next to no error of their own and make none larger, so that what is tested
#: is the convolution.
ACTIVATIONS = ("linear", "leaky", "relu", "relu6")


class Launcher(Protocol):
    """A launcher of a convolution kernel: a rung of the ladder."""

    def __call__(
        self,
        target: Target,
        x: DeviceMap,
        weights: DeviceArray,
        biases: DeviceArray,
        out: DeviceMap,
        *,
        size: int,
        stride: Stride,
        padding: int,
        dilation: int,
        groups: int,
        activation: str,
        residual: DeviceMap | None,
    ) -> None:
        """Launch the kernel."""


@dataclass(frozen=True, eq=False)
class FusedConvolution:
    """``activation(convolution + biases) + residual``.

    Attributes:
        call: the convolution; its biases are not None.
        activation: its name.
        residual: of the output's shape, or None.
        margin: how many numbers wider than their channels all maps are in memory.
    """

    call: Convolution
    activation: str
    residual: FloatArray | None
    margin: int

    def expected(self) -> tuple[FloatArray, FloatArray]:
        """Return the result in float64 and the bound of a float32 kernel's error."""
        arrays = [np.asarray(array, np.float64) for array in self.call.arrays]
        sums = conv_forward_reference(*arrays, **self.call.options)
        result = activation_forward_reference(sums, self.activation)
        magnitude = conv_forward_reference(*map(np.abs, arrays), **self.call.options)
        own_error = np.zeros_like(result)
        if self.activation not in ACTIVATIONS:
            own_error = tolerances.ELEMENTARY_FLOAT32 * np.maximum(1, np.abs(result))
            magnitude *= tolerances.ACTIVATION_SLOPE
        if self.residual is not None:
            result = result + self.residual
            magnitude += np.abs(self.residual)
        terms = self.call.weights[0].size + 3
        return result, tolerances.summation(magnitude, terms) + own_error

    def run(
        self, target: Target, launch: Launcher, pack: Callable[[FloatArray], FloatArray]
    ) -> NDArray[np.floating[Any]]:
        """Return what a kernel makes of it.

        Args:
            target: where to run.
            launch: the kernel's launcher.
            pack: puts (F, C / groups, K, K) weights into the order that the kernel reads.
        """
        call = self.call
        assert call.biases is not None
        weights, biases = target.upload(pack(call.weights)), target.upload(call.biases)

        def on_maps(x: DeviceMap, *rest: DeviceMap) -> None:
            *residual, out = rest
            launch(
                target,
                x,
                weights,
                biases,
                out,
                size=call.weights.shape[2],
                **call.options,
                activation=self.activation,
                residual=residual[0] if residual else None,
            )

        inputs = [call.x] if self.residual is None else [call.x, self.residual]
        images, filters, height, width = self.expected()[0].shape
        return run_on_maps(target, on_maps, inputs, (images, filters, height, width), self.margin)

    def assert_kernel_agrees(
        self, target: Target, launch: Launcher, pack: Callable[[FloatArray], FloatArray]
    ) -> None:
        """Check a kernel's result; arguments as of `run`.

        Raises:
            AssertionError: a number is wrong.
        """
        expected, bound = self.expected()
        if self.call.x.dtype == np.float16:
            bound = bound + tolerances.rounded_to_half(np.abs(expected) + bound)
        error = np.abs(self.run(target, launch, pack) - expected)
        wrong = ~(error <= bound)
        assert not wrong.any(), (
            f"{wrong.sum()} of {wrong.size} numbers are wrong, the first at (n, f, row, column) = "
            f"{tuple(int(i) for i in np.argwhere(wrong)[0])}"
        )


def of_halves(case: FusedConvolution) -> FusedConvolution:
    """Return the same convolution from maps of halves to a map of them."""
    residual = None if case.residual is None else case.residual.astype(np.float16)
    call = replace(case.call, x=np.ascontiguousarray(case.call.x, np.float16))
    return replace(case, call=call, residual=residual)


@st.composite
def fused_convolutions(
    draw: st.DrawFn, calls: st.SearchStrategy[Convolution] | None = None, *, halves: bool = False
) -> FusedConvolution:
    """Draw a float32 convolution with its activation, residual and margin.

    Args:
        draw: given by Hypothesis.
        calls: where the convolution comes from; `convolutions` by default.
        halves: whether its maps may be of halves.
    """
    call = draw(calls if calls is not None else convolutions(dtype=np.float32))
    residual = draw(st.sampled_from([False, False, True]))
    case = fused(call, draw(st.sampled_from(ACTIVATIONS)), residual, draw(margins))
    return of_halves(case) if halves and draw(st.booleans()) else case


def fused(
    call: Convolution, activation: str = "leaky", residual: bool = False, margin: int = 0
) -> FusedConvolution:
    """Return a convolution with biases, if it has none, and a residual, if it is to have one."""
    if call.biases is None:
        biases = normal_map((len(call.weights),), np.float32, 1)
        call = Convolution(call.x, call.weights, biases, call.options)
    shape = conv_forward_reference(*call.arrays, **call.options).shape
    added = normal_map(shape, np.float32, 2) if residual else None
    return FusedConvolution(call, activation, added, margin)
