"""Convolution by Winograd's filtering: the launcher of ``kernels/convolution_winograd.cu``.

For 3 × 3 kernels with stride 1 and without dilation or groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.maps import DeviceMap
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.errors import InputError
from tinyyolo3.layers.convolution.cuda import TERMS_UNIT, convolution_struct, packed_filters
from tinyyolo3.layers.convolution.cuda_tiles import SPLIT_TILES, Tile

#: G of a patch of 2 × 2 and of 4 × 4 outputs (Lavin and Gray, arXiv 1509.09308, sections 4.1, 4.3).
FILTER_TRANSFORMS = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}
#: The sides of patches that there are.
OUTPUTS = tuple(FILTER_TRANSFORMS)
#: Numbers of each array, whose offsets are 32 bits.
MOST_ELEMENTS = 2**31 - 1
#: Threads of a block of the two transforms.
_THREADS = 128


@dataclass(frozen=True)
class Patches:
    """How a map is cut for Winograd's filtering.

    Attributes:
        outputs: side of a patch in output pixels, 2 or 4.
        images: pictures of the batch.
        height: rows of the output map.
        width: columns of it.
        channels: of the input.
        filters: channels of the output.
    """

    outputs: int
    images: int
    height: int
    width: int
    channels: int
    filters: int

    @property
    def elements(self) -> int:
        """How many products of matrices there are."""
        return (self.outputs + 2) ** 2

    @property
    def count(self) -> int:
        """How many patches there are: the rows of each product."""
        rows, columns = (-(-side // self.outputs) for side in (self.height, self.width))
        return self.images * rows * columns

    @property
    def terms(self) -> int:
        """The terms of each product: the channels, filled up to a multiple of 16."""
        return -(-self.channels // TERMS_UNIT) * TERMS_UNIT

    @property
    def input_floats(self) -> int:
        """Numbers of all patches' transformed inputs."""
        return self.elements * self.count * self.terms

    @property
    def product_floats(self) -> int:
        """Numbers of all products."""
        return self.elements * self.count * packed_filters(self.filters)

    @property
    def largest_array(self) -> int:
        """Numbers of the largest of the arrays in memory."""
        weights = self.elements * self.terms * packed_filters(self.filters)
        return max(self.input_floats, self.product_floats, weights)

    @property
    def workspace_floats(self) -> int:
        """Numbers of workspace: the transformed inputs and the products."""
        return self.input_floats + self.product_floats


def pack_winograd(weights: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
    """Return ``G g Gᵀ`` of every filter and channel, computed in float64.

    Args:
        weights: (F, C, 3, 3).
        outputs: side of a patch, 2 or 4.

    Returns:
        ((outputs + 2)², terms, filters): terms are C, filled with zeros up to a multiple of 16,
        filters F up to one of 4.
    """
    filters, channels = weights.shape[:2]
    transform = FILTER_TRANSFORMS[outputs]
    # Two products instead of one of three: a million filters take a second, not a minute.
    half = transform @ weights.astype(np.float64)
    whole = (half @ transform.T).reshape(filters, channels, -1)
    terms = -(-channels // TERMS_UNIT) * TERMS_UNIT
    packed = np.zeros((whole.shape[2], terms, packed_filters(filters)), np.float32)
    packed[:, :channels, :filters] = whole.transpose(2, 1, 0)
    return packed


def conv_forward_winograd_cuda(
    target: Target,
    x: DeviceMap,
    packed: DeviceArray,
    biases: DeviceArray,
    out: DeviceMap,
    *,
    outputs: int,
    padding: int,
    tile: Tile,
    workspace: DeviceArray,
    activation: str = "linear",
    residual: DeviceMap | None = None,
) -> None:
    """Launch the three kernels from `x` into `out`.

    Args:
        target: where to run.
        x: (N, H, W, C).
        packed: the weights, packed by `pack_winograd` for the same `outputs`.
        biases: (F,).
        out: (N, out_H, out_W, F).
        outputs: side of a patch, 2 or 4.
        padding: zeros on each side.
        tile: how to cut each of the products.
        workspace: from `new_workspace`, with `SPLIT_TILES` numbers, which are left alone, and
            `Patches.workspace_floats`, of any contents.
        activation: applied to the sums.
        residual: added after the activation; of `out`'s shape.

    Raises:
        InputError: a shape does not fit, the workspace is too small, or an array is larger than
            `MOST_ELEMENTS`.
    """
    shape = convolution_struct(
        x,
        out,
        size=3,
        stride=(1, 1),
        padding=padding,
        dilation=1,
        groups=1,
        activation=activation,
        residual=residual,
    )
    patches = Patches(outputs, out.images, out.height, out.width, x.channels, out.channels)
    scratch = workspace[SPLIT_TILES:]
    if scratch.size < patches.workspace_floats or patches.largest_array > MOST_ELEMENTS:
        raise InputError(
            f"convolution: Winograd's rung needs {patches.workspace_floats} numbers of workspace, "
            f"found {scratch.size}, and takes arrays of at most {MOST_ELEMENTS}, found "
            f"{patches.largest_array}"
        )
    inputs = scratch[: patches.input_floats]
    products = scratch[patches.input_floats : patches.workspace_floats]
    target.kernel("convolution_winograd.cu", f"winograd_inputs<{outputs}>")(
        (-(-patches.count * patches.terms // _THREADS),),
        (_THREADS,),
        (shape, x.data, inputs, patches.terms),
        outputs=(inputs,),
    )
    target.kernel("convolution_winograd.cu", winograd_instance(tile))(
        (tile.tiles_of(patches.count, packed_filters(out.channels)), patches.elements),
        (tile.threads,),
        (inputs, packed, products, patches.count, patches.terms, packed_filters(out.channels)),
        shared_mem=tile.shared_bytes,
        outputs=(products,),
    )
    target.kernel("convolution_winograd.cu", f"winograd_outputs<{outputs}>")(
        (-(-patches.count * out.channels // _THREADS),),
        (_THREADS,),
        (shape, products, biases, residual.data if residual else None, out.data),
        outputs=out.whole,
    )


def winograd_instance(tile: Tile) -> str:
    """Return the name of the multiplying kernel with a tile."""
    numbers = (tile.pixels, tile.filters, tile.depth, tile.thread_pixels, tile.thread_filters)
    return f"winograd_multiply<{', '.join(map(str, (*numbers, tile.stages, tile.blocks_per_sm)))}>"
