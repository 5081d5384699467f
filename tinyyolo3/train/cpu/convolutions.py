"""A convolution and the gradient of its input, by the kernels that detection runs on.

The gradient of the input of a convolution is a convolution itself: of the output's gradient, with
transposed weights (`weight_packing`) and a border of ``(k − 1 − p)·d``; so it has the same
algorithms to choose from, Winograd's among them. With a stride, the output's gradient is first
spread out, with zeros between its pixels (`maps.lower_insert_zeros`)::

    x[i] = Σ w[u] · g[(i + p·d − u·d) / s],  where that is a whole number

(Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016, arXiv:1603.07285,
section 4). What they equal: `tinyyolo3.layers.convolution.reference.conv_forward_reference` and the
first result of `tinyyolo3.layers.convolution.backward.conv_backward_reference`.
"""

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tinyyolo3.engine.cpu.algorithms import (
    Candidate,
    arithmetic_of,
    candidates,
    is_depthwise,
    is_first_layer,
    merged_parts,
)
from tinyyolo3.engine.cpu.arithmetic import FLOAT32
from tinyyolo3.engine.cpu.lower import lower_step
from tinyyolo3.engine.cpu.lowering import Lowering
from tinyyolo3.engine.cpu.pack_layer import packed_bytes
from tinyyolo3.engine.cpu.packing import Floats, PackedWeights, product_order
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS
from tinyyolo3.engine.cpu.vectors import LANES
from tinyyolo3.engine.plan import INPUT, Buffer, Place, Plan, Step
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.train.cpu.assembly import JOBS
from tinyyolo3.train.cpu.batch_map import BatchMap
from tinyyolo3.train.cpu.maps import lower_insert_zeros
from tinyyolo3.train.cpu.memory import Memory, PlannedMap, Stretch
from tinyyolo3.train.cpu.stages import Argument, Row
from tinyyolo3.train.cpu.weight_packing import WeightOrder, lower_packing

#: Bytes of weights that one core packs in a second.
PACKING_RATE = 3e9
#: The tables of Winograd products.
_ORDERS = {name: product_order(f) for name, f in FILTERINGS.items()}


@dataclass(frozen=True)
class Convolution:
    """One convolution of a training program.

    Attributes:
        layer: what it computes, the activation only if it is applied along the way.
        algorithm: by which.
        order: which weights it reads.
        plain_input: whether it reads the pictures as the caller gave them.
        packed: where its weights are packed, one part after the other.
        workspace: memory that its jobs share; None for none.
        spread: its input, spread out; None without a stride to undo.
    """

    layer: specs.Convolutional
    algorithm: str
    order: WeightOrder
    plain_input: bool
    packed: Stretch
    workspace: Stretch | None
    spread: PlannedMap | None = None

    @property
    def touched(self) -> tuple[Stretch, ...]:
        """Its own memory."""
        own = (self.packed, self.workspace, self.spread.stretch if self.spread else None)
        return tuple(stretch for stretch in own if stretch is not None)


def choose_algorithm(layer: specs.Convolutional, images: int) -> tuple[str, int]:
    """Return the quickest algorithm for a mini-batch, and the bytes of its workspace."""
    if is_depthwise(layer):
        return "depthwise", 0
    if is_first_layer(layer):
        return "first layer", 0

    def seconds(candidate: Candidate) -> float:
        return candidate.seconds + candidate.weight_bytes / PACKING_RATE

    # `lower_packing` knows the order of plain float32.
    plain = (c for c in candidates(layer, images=images) if arithmetic_of(c.algorithm) is FLOAT32)
    best = min(plain, key=seconds)
    return best.algorithm, best.workspace_bytes


def plan_convolution(
    memory: Memory, layer: specs.Convolutional, weights: specs.Convolutional, transposed: bool
) -> Convolution:
    """Choose a convolution's algorithm and reserve its memory.

    Args:
        memory: of the program.
        layer: what to compute.
        weights: the layer whose weights to take.
        transposed: how to read them.
    """
    algorithm, workspace = choose_algorithm(layer, memory.images)
    parts = 1 if algorithm in ("depthwise", "first layer") else merged_parts(layer)
    size = parts * packed_bytes(layer, Step(0, algorithm))
    return Convolution(
        layer,
        algorithm,
        WeightOrder(weights, transposed, parts),
        algorithm == "first layer",
        memory.reserve(size),
        memory.reserve(workspace) if workspace else None,
    )


def plan_forward(memory: Memory, layer: specs.Convolutional, activation: str) -> Convolution:
    """Plan a layer's convolution, with an activation that the kernels apply along the way."""
    return plan_convolution(memory, replace(layer, activation=activation), layer, False)


def has_transposed(layer: specs.Convolutional) -> bool:
    """Return whether the gradient of a layer's input is a convolution, its border not negative."""
    return layer.padding < layer.size


def plan_transposed(memory: Memory, layer: specs.Convolutional) -> Convolution:
    """Plan the gradient of a layer's input."""
    channels, height, width = layer.input_shapes[0]
    around = (2 * layer.padding - layer.size + 1) * layer.dilation
    spread = (layer.filters, height + around, width + around)
    back = replace(
        layer,
        inputs=(0,),
        input_shapes=(spread,),
        output_shape=layer.input_shapes[0],
        filters=channels,
        stride=(1, 1),
        padding=layer.size - 1 - layer.padding,
        activation="linear",
    )
    planned = plan_convolution(memory, back, layer, True)
    if spread == layer.output_shape:
        return planned
    return replace(planned, spread=memory.new_map(spread))


def lower_convolution(
    planned: Convolution,
    graph: Graph,
    source: BatchMap | None,
    target: BatchMap,
    bias: Floats,
    workers: int,
    *,
    added: bool = False,
) -> Iterator[Row]:
    """Yield a convolution's rows: packing, then the images together or one by one.

    Args:
        planned: the convolution, whose memory has its addresses.
        graph: any; the layer is taken from `planned`.
        source: its input; None for the caller's pictures.
        target: its output.
        bias: of all filters, and zeros up to a whole panel.
        workers: how many will share out the jobs.
        added: whether it is added to what `target` holds; with Winograd's algorithms alone.
    """
    layer = planned.layer
    if planned.spread is not None:
        assert source is not None
        spread = planned.spread.placed()
        yield from map(Row, lower_insert_zeros(source, spread, planned.order.layer.stride, JOBS))
        source = spread
    together = planned.algorithm not in ("depthwise", "first layer")
    size = planned.packed.bytes // planned.order.parts
    key = ("parameter", planned.order.layer.index, "weights")
    for part in range(planned.order.parts):
        packed = planned.packed.address + part * size
        weights = Argument("source", key, part * planned.order.part_bytes)
        yield Row(lower_packing(planned.order, planned.algorithm, packed), (weights,))
        for image in range(1 if together else target.images):
            workspace = planned.workspace.address if planned.workspace else 0
            low = Lowering(
                replace(graph, layers=(layer,)),
                Plan(
                    (_step(planned, part, source, target, image, added),),
                    _buffers(workspace),
                    0,
                    (),
                ),
                0,
                {0: PackedWeights(_floats(packed), bias[part * planned.order.filters :])},
                {name: table.ctypes.data for name, table in _ORDERS.items()},
                workers,
                target.images if together else 1,
            )
            for number, lowered in enumerate(lower_step(low, 0)):
                reads_pictures = planned.plain_input and number == 0
                yield Row(lowered, (_picture(layer, image),) if reads_pictures else ())


def _buffers(workspace: int) -> tuple[Buffer, ...]:
    """Return what addresses are offsets in: memory from its beginning, then the workspace."""
    return Buffer(0, 0, 0, 0), Buffer(workspace, 0, 0, 0)


def _floats(address: int) -> Floats:
    """Return an array by which lowering finds an address."""
    return np.ctypeslib.as_array(ctypes.c_float.from_address(address), (1,))


def _picture(layer: specs.Convolutional, image: int) -> Argument:
    return Argument("source", ("pictures", INPUT, ""), 4 * image * math.prod(layer.input_shapes[0]))


def _step(
    planned: Convolution,
    part: int,
    source: BatchMap | None,
    target: BatchMap,
    image: int,
    added: bool,
) -> Step:
    """Return the engine's description of one part of a convolution, from an image on."""
    parts = planned.order.parts

    def place(whole: BatchMap) -> Place:
        own = whole.channels // parts
        offset = whole.address + part * (own // LANES) * whole.block_stride
        offset += image * whole.image_stride
        return Place(0, offset, whole.block_stride, (own, whole.height, whole.width))

    output = place(target)
    return Step(
        0,
        planned.algorithm,
        0,
        (place(source) if source is not None else None,),
        output,
        output if added else None,
        part,
        workspace=1 if planned.workspace else None,
    )
