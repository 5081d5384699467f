"""The quick propagation: a network's way there and back on blocked mini-batches, all cores busy.

What is computed is laid down once for a network, an input size and a mini-batch: two programs in
one arena (`assembly`, `stages`, `memory`). A call binds the addresses of the caller's arrays and
runs one of them; it allocates nothing.
"""

from collections.abc import Mapping

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.engine.cpu.engine import SLACK_BYTES
from tinyyolo3.engine.plan import INPUT
from tinyyolo3.errors import InputError
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import Parameters
from tinyyolo3.parallel import available_cores, check_threads, thread_limit
from tinyyolo3.train.cpu.assembly import Assembly
from tinyyolo3.train.cpu.convolutional import ConvolutionalLayer
from tinyyolo3.train.cpu.convolutions import has_transposed
from tinyyolo3.train.cpu.heads import HeadLayer
from tinyyolo3.train.cpu.memory import Allocate, Memory, allocate
from tinyyolo3.train.cpu.plain import PlainLayer
from tinyyolo3.train.cpu.stages import Key, Program
from tinyyolo3.train.cpu.weightless import (
    add_avgpool,
    add_maxpool,
    add_route,
    add_shortcut,
    add_upsample,
    is_plain_sum,
)
from tinyyolo3.train.propagation import BatchMoments
from tinyyolo3.train.step import Recipe


class CpuPropagation:
    """Carries mini-batches of one size through a network and back; see `Propagation`.

    Results do not depend on the number of threads, and are the same bits in every run.
    """

    def __init__(
        self,
        recipe: Recipe,
        mini_batch: int,
        threads: int | None = None,
        allocate: Allocate = allocate,
    ) -> None:
        """Lay everything down.

        Args:
            recipe: the network.
            mini_batch: how many pictures are propagated together.
            threads: how many threads to use; None for as many as there are cores.
            allocate: where the arena and the workers' memory come from.

        Raises:
            InputError: `threads` or `mini_batch` is not a positive integer.
        """
        check_threads(threads)
        if mini_batch < 1:
            raise InputError(f"a mini-batch has at least one picture, not {mini_batch}")
        self._recipe = recipe
        self._workers = threads or available_cores()
        self._assembly = Assembly(recipe, self._workers, Memory(mini_batch))
        self._add_forward()
        ahead, self._assembly.stages = self._assembly.stages, []
        self._add_backward()
        back = self._assembly.stages
        touched = [stage.touched for stage in (*ahead, *back)]
        arena = self._assembly.memory.lay_out(touched, SLACK_BYTES, allocate)
        self._forward, self._backward = Program(self._workers), Program(self._workers)
        self._forward.add(ahead)
        self._backward.add(back)
        size = max(self._forward.scratch_bytes, self._backward.scratch_bytes) + SLACK_BYTES
        scratches = [allocate(size) for _ in range(self._workers)]
        for program in (self._forward, self._backward):
            program.prepare(scratches, [arena, *self._assembly.kept])
        self._arrays: dict[Key, FloatArray] = {}

    def _add_forward(self) -> None:
        for layer in self._recipe.graph.layers:
            add_layer(self._assembly, layer)

    def _add_backward(self) -> None:
        assembly = self._assembly
        for layer in reversed(self._recipe.graph.layers[self._recipe.first_reached :]):
            if isinstance(layer, specs.Yolo):
                HeadLayer(assembly, layer).backward()
            elif layer.index in assembly.backward and layer.index in assembly.gradients:
                assembly.backward[layer.index](assembly.gradients[layer.index])

    def forward(self, parameters: Parameters, pictures: FloatArray) -> Mapping[int, FloatArray]:
        """Run all layers; see `Propagation.forward`.

        Args:
            parameters: of all layers; float32 arrays in C order are read where they are.
            pictures: (mini_batch, C, H, W).

        Raises:
            InputError: the pictures are not as many, or not of the recipe's input shape.
        """
        expected = (self._assembly.images, *self._recipe.graph.input_shape)
        if pictures.shape != expected:
            raise InputError(f"pictures of shape {pictures.shape} do not fit {expected}")
        self._arrays = {("pictures", INPUT, ""): pictures}
        self._assembly.parameters = parameters
        for layer in self._recipe.graph.layers:
            for name, array in parameters.get(layer.index, {}).items():
                self._arrays["parameter", layer.index, name] = array
        self._run(self._forward)
        return self._assembly.heads

    def backward(self, of_heads: Mapping[int, FloatArray]) -> Parameters:
        """Carry the heads' deltas back; see `Propagation.backward`.

        Raises:
            InputError: there was no forward pass before, or a head's deltas are shaped otherwise.
        """
        if not self._arrays:
            raise InputError("a forward pass comes before the way back")
        for index, output in self._assembly.heads.items():
            if of_heads[index].shape != output.shape:
                shape = of_heads[index].shape
                raise InputError(f"deltas of layer {index} have shape {shape}, not {output.shape}")
            self._arrays["head", index, ""] = of_heads[index]
        self._run(self._backward)
        return self._assembly.found

    def moments(self) -> BatchMoments:
        """Return the batch norms' moments; see `Propagation.moments`."""
        layers, images = self._recipe.graph.layers, self._assembly.images
        found = {}
        for index, (mean, variance) in self._assembly.moments.items():
            _, height, width = layers[index].output_shape
            found[index] = mean, variance, images * height * width
        return found

    def _run(self, program: Program) -> None:
        """Bind the caller's arrays, which are kept until the next pass, and run."""
        for key, array in self._arrays.items():
            self._arrays[key] = np.ascontiguousarray(array, np.float32)
        for key, padded in self._assembly.padded.items():
            array = self._arrays[key]
            padded[: array.size] = array
        program.bind({key: array.ctypes.data for key, array in self._arrays.items()})
        with thread_limit(self._workers), np.errstate(over="ignore", invalid="ignore"):
            program.run()


def add_layer(assembly: Assembly, layer: specs.Layer) -> None:
    """Add a layer's way there, and remember its way back."""
    match layer:
        case specs.Yolo():
            HeadLayer(assembly, layer).forward()
        case specs.Convolutional() if has_transposed(layer):
            ConvolutionalLayer(assembly, layer).forward()
        case specs.Route() if assembly.owner(layer.index) != layer.index:
            assembly.outputs[layer.index] = assembly.output(layer.inputs[0])
        case specs.Dropout() if layer.index < assembly.recipe.frozen:
            assembly.outputs[layer.index] = assembly.output(layer.inputs[0])
        case specs.Maxpool() if layer.padding < layer.size:
            add_maxpool(assembly, layer)
        case specs.Avgpool():
            add_avgpool(assembly, layer)
        case specs.Upsample() if layer.scale == 1:
            add_upsample(assembly, layer)
        case specs.Shortcut() if is_plain_sum(layer):
            add_shortcut(assembly, layer)
        case specs.Route():
            add_route(assembly, layer)
        case _:
            PlainLayer(assembly, layer).forward()
