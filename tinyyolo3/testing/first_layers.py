"""Pictures and a network's first convolution, for checks of the kernel that does both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray
from tinyyolo3.cuda.maps import DeviceMap, empty_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.image.geometry import ResizeMode, resize_geometry
from tinyyolo3.image.resize import network_input_reference
from tinyyolo3.image.resize_cuda import FRAME, fill_frames
from tinyyolo3.layers.activation import activation_forward_reference
from tinyyolo3.layers.convolution.cuda_first import conv_forward_first_cuda, pack_first_weights
from tinyyolo3.layers.convolution.cuda_mma import round_to_tf32, round_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, Precision
from tinyyolo3.layers.convolution.reference import conv_forward_reference
from tinyyolo3.testing import tolerances


@dataclass(frozen=True, eq=False)
class FirstCase:
    """Pictures that are fitted to a network's input, and its first convolution.

    Attributes:
        sizes: height and width of each picture.
        network: width and height of the input.
        mode: how pictures are fitted.
        filters: of the convolution.
        stride: of both axes.
        padding: zeros on each side.
        activation: after the sums.
        precision: of what is multiplied.
        seed: of all numbers.
        given_weights: (F, 3, 3, 3) in place of random ones.
        given_biases: (F,) in place of random ones.
    """

    sizes: Sequence[tuple[int, int]]
    network: tuple[int, int]
    mode: ResizeMode
    filters: int
    stride: int
    padding: int
    activation: str
    precision: Precision
    seed: int
    given_weights: NDArray[np.float32] | None = None
    given_biases: NDArray[np.float32] | None = None

    @cached_property
    def pictures(self) -> list[ByteArray]:
        """Random pictures (H, W, 3)."""
        rng = np.random.default_rng(self.seed)
        return [rng.integers(0, 256, (*size, 3), np.uint8) for size in self.sizes]

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(F, 3, 3, 3), rounded already."""
        if self.given_weights is not None:
            return self.given_weights
        values = np.random.default_rng(self.seed + 1).standard_normal((self.filters, 3, 3, 3))
        return round_weights(values.astype(np.float32), self.precision).astype(np.float32)

    @cached_property
    def biases(self) -> NDArray[np.float32]:
        """(F,)."""
        if self.given_biases is not None:
            return self.given_biases
        return np.random.default_rng(self.seed + 2).standard_normal(self.filters, np.float32)

    def fitted(self) -> NDArray[Any]:
        """Return Darknet's input, (N, 3, H, W), rounded to the precision."""
        exact = np.stack(
            [network_input_reference(p, *self.network, self.mode) for p in self.pictures]
        )
        return exact.astype(np.float16) if self.precision is FP16 else round_to_tf32(exact)

    def expected(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the result in float64 and a bound of the error of tensor cores."""
        wide = [a.astype(np.float64) for a in (self.fitted(), self.weights, self.biases)]
        window: dict[str, Any] = {"stride": (self.stride,) * 2, "padding": self.padding}
        sums = conv_forward_reference(*wide, **window)
        magnitude = conv_forward_reference(*map(np.abs, wide), **window)
        result = activation_forward_reference(sums, self.activation)
        bound = tolerances.ACTIVATION_SLOPE * tolerances.tensor_cores(magnitude, 27)
        bound = bound + tolerances.ELEMENTARY_FLOAT32 * np.maximum(1, np.abs(result))
        if self.precision is FP16:
            bound = bound + tolerances.rounded_to_half(np.abs(result) + bound)
        return result, bound

    def prepare(self, target: Target, out: DeviceMap) -> Callable[[], None]:
        """Upload everything; return what launches the kernel."""
        geometries = [
            resize_geometry(p.shape[1], p.shape[0], *self.network, self.mode) for p in self.pictures
        ]
        frames = np.empty(len(geometries), FRAME)
        fill_frames(frames, geometries)
        width, height = self.network
        return partial(
            conv_forward_first_cuda,
            target,
            target.upload(np.concatenate([p.reshape(-1) for p in self.pictures])),
            target.upload(frames.view(np.uint8)),
            empty_map(target, len(frames), height, width, 3, 8, self.precision.dtype),
            target.upload(pack_first_weights(self.weights, self.precision)),
            target.upload(self.biases),
            out,
            precision=self.precision,
            stride=(self.stride, self.stride),
            padding=self.padding,
            activation=self.activation,
        )
