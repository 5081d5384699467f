"""Layers without kernels in a training program: computed on plain maps, by the plain references.

Their inputs are copied out of the blocked maps, and their outputs into one; the way back is alike.
That is slow, and rare: groups that are neither depthwise nor whole blocks, layers on vectors.
"""

import ctypes
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.blas import blas_thread_limit
from tinyyolo3.engine.cpu.packing import Floats
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import RUNNING_STATISTICS, layer_slots
from tinyyolo3.train.cpu.assembly import Assembly
from tinyyolo3.train.cpu.batch_map import BatchMap
from tinyyolo3.train.cpu.memory import PlannedMap
from tinyyolo3.train.propagate import Trace, backward_layer, forward_layer


def blocked_view(batch: BatchMap) -> Floats:
    """Return a map's memory as (images, blocks, height, width, lanes)."""
    memory = np.ctypeslib.as_array(
        (ctypes.c_float * (batch.bytes // 4)).from_address(batch.address)
    )
    return np.lib.stride_tricks.as_strided(
        memory,
        (batch.images, batch.blocks, batch.height, batch.width, LANES),
        (batch.image_stride, batch.block_stride, batch.width * BLOCK, BLOCK, 4),
    )


def read_plain(batch: BatchMap) -> Floats:
    """Return a copy of a map, (N, C, H, W)."""
    plain = blocked_view(batch).transpose(0, 1, 4, 2, 3)
    shape = (batch.images, batch.blocks * LANES, batch.height, batch.width)
    return np.ascontiguousarray(np.ascontiguousarray(plain).reshape(shape)[:, : batch.channels])


def write_plain(batch: BatchMap, plain: FloatArray) -> None:
    """Fill a map from (N, C, H, W)."""
    shape = (batch.images, batch.blocks * LANES, batch.height, batch.width)
    padded = np.zeros(shape, np.float32)
    padded[:, : batch.channels] = plain
    parted = padded.reshape(batch.images, batch.blocks, LANES, batch.height, batch.width)
    blocked_view(batch)[:] = parted.transpose(0, 1, 3, 4, 2)


@dataclass
class PlainLayer:
    """Adds the calls of one layer.

    Attributes:
        assembly: what they are added to.
        layer: which.
        trace: what the last forward pass left.
    """

    assembly: Assembly
    layer: specs.Layer
    trace: Trace | None = None
    of_inputs: list[FloatArray] = field(default_factory=list)

    def forward(self) -> None:
        """Add the call of the way there, and remember that of the way back."""
        assembly, layer = self.assembly, self.layer
        inputs = [assembly.output(index) for index in layer.inputs]
        output = assembly.new_output(layer)
        graph, frozen = assembly.recipe.graph, assembly.recipe.frozen
        moments = None
        if getattr(layer, "batch_normalize", False) and layer.index >= frozen:
            channels = layer.output_shape[0]
            moments = assembly.moments[layer.index] = (
                assembly.zeros(channels),
                assembly.zeros(channels),
            )

        def call() -> None:
            plain = tuple(read_plain(each.placed()) for each in inputs)
            own = assembly.parameters.get(layer.index, {})
            with blas_thread_limit(assembly.workers):
                self.trace = forward_layer(graph, layer, own, plain, frozen=frozen)
            if moments is not None and self.trace.moments is not None:
                moments[0][:], moments[1][:] = self.trace.moments.mean, self.trace.moments.variance
            write_plain(output.placed(), self.trace.output)

        assembly.call([output.stretch, *(each.stretch for each in inputs)], call)
        assembly.backward[layer.index] = self.backward

    def backward(self, gradient: PlannedMap) -> None:
        """Add the calls of the way back: one for the layer, one for each input."""
        assembly, layer = self.assembly, self.layer
        arrays = {
            slot.name: assembly.parameter_gradient(layer, slot.name, slot.shape)
            for slot in layer_slots(layer)
            if slot.name not in RUNNING_STATISTICS
        }

        def call() -> None:
            assert self.trace is not None
            own = assembly.parameters.get(layer.index, {})
            with blas_thread_limit(assembly.workers):
                plain = read_plain(gradient.placed())
                self.of_inputs, found = backward_layer(layer, own, self.trace, plain)
            for name, array in found.items():
                arrays[name][:] = array

        assembly.call([gradient.stretch], call)
        for position, index in enumerate(layer.inputs):
            assembly.give_gradient(index, partial(self._write, position))

    def _write(self, position: int, target: PlannedMap, _added: bool) -> None:
        self.assembly.call(
            [target.stretch], lambda: write_plain(target.placed(), self.of_inputs[position])
        )
