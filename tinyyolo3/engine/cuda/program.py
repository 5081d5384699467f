"""A plan made ready for a target: its arena, and the launches of its steps in order."""

from collections.abc import Sequence

import numpy as np

from tinyyolo3.cuda.maps import DeviceMap, map_size
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.engine.cuda.convolutions import shared_workspace_floats
from tinyyolo3.engine.cuda.first import lower_first
from tinyyolo3.engine.cuda.lower import Launch, Lowering, lower_step
from tinyyolo3.engine.cuda.persistent import PersistentNetwork, spread_buffers
from tinyyolo3.engine.cuda.persistent_weights import PackedWeights
from tinyyolo3.engine.cuda.weights import DeviceWeights
from tinyyolo3.engine.plan import INPUT, Place, Plan
from tinyyolo3.image.resize_cuda import network_input_cuda
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import gpu_of
from tinyyolo3.layers.convolution.cuda_mma_tiles import Precision
from tinyyolo3.network.graph import Graph

#: Steps that stand for the caller's own copies: what writes the input, what reads the outputs.
BOUNDARIES = ("pack", "unpack")


class Program:
    """A network for one input size and batch, with memory of its own.

    Attributes:
        input: the map that whoever runs the program writes first.
        outputs: the maps of the plan's output layers, in its order; whole after a run.
    """

    def __init__(
        self,
        target: Target,
        graph: Graph,
        plan: Plan,
        images: int,
        weights: DeviceWeights,
        precision: Precision | None = None,
        packed: PackedWeights | None = None,
    ) -> None:
        """Allocate the arena and lower the plan.

        Args:
            target: where to run; the launches go to its stream.
            graph: the layers.
            plan: their plan for so many images.
            images: pictures in the batch.
            weights: the layers' parameters in the target's memory.
            precision: what tensor cores multiply, as the plan has it.
            packed: the parameters in one array, for one launch of all steps; else each has its own.
        """
        if packed is not None:
            plan = spread_buffers(plan)
        self.graph, self.plan, self.images, self._target = graph, plan, images, target
        self.arena = target.empty(plan.arena_bytes // 4)
        # The same memory, as numbers of so many bytes.
        self._numbers = {4: self.arena, 2: self.arena.view(np.float16)}
        floats = shared_workspace_floats(graph, plan, images, gpu_of(target), precision)
        workspace = new_workspace(target, floats)
        low = Lowering(target, graph, weights, self.map_of, workspace, precision)
        steps = [step for step in plan.steps if step.algorithm not in BOUNDARIES]
        self._launches: list[list[Launch]]
        if packed is None:
            self._launches = [lower_step(low, step) for step in steps]
        else:
            self._launches = [[PersistentNetwork(low, plan, self.arena, packed).launch]]
        self.input = self.map_of(next(s.output for s in plan.steps if s.layer == INPUT))
        unpacked = (step.inputs[0] for step in plan.steps if step.algorithm == "unpack")
        self.outputs = tuple(self.map_of(place) for place in unpacked)
        # With one launch for all, the first convolution is inside of it.
        self._from_pictures = lower_first(low, plan, self.input) if packed is None else None

    def launch(self) -> None:
        """Launch all steps, which go from `input` to `outputs`."""
        self._launch_steps(self._launches)

    def launch_from_pictures(self, pixels: DeviceArray, frames: DeviceArray) -> None:
        """Launch all steps, and before them what fits a batch of pictures to the input.

        Where the first convolution can do that by itself, `input` is left as it was.

        Args:
            pixels: uint8, all pictures' RGB, as `network_input_cuda` takes them.
            frames: uint8, as many `FRAME` as there are images.
        """
        if self._from_pictures is None:
            network_input_cuda(self._target, pixels, frames, self.input)
            self.launch()
        else:
            self._from_pictures(pixels, frames)
            self._launch_steps(self._launches[1:])

    def _launch_steps(self, steps: Sequence[Sequence[Launch]]) -> None:
        for step in steps:
            for launch in step:
                launch()

    def map_of(self, place: Place | None) -> DeviceMap:
        """Return the map that lies in a place."""
        assert place is not None
        channels, height, width = place.shape
        pitch = place.stride // place.element_bytes
        start = (self.plan.buffers[place.buffer].offset + place.offset) // place.element_bytes
        numbers = self._numbers[place.element_bytes]
        size = map_size(self.images * height * width, channels, pitch, numbers.dtype)
        data = numbers[start : start + size]
        return DeviceMap(data, self.images, height, width, channels, pitch)
