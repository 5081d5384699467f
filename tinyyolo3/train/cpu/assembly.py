"""What the parts of a training program share while it is put together.

Layers add their stages one after the other, first those of the way there, then, from the last layer
to the first, those of the way back. Two things are kept in the books: where each layer's output
lies, and which gradients have arrived where. A map that several layers read gets the sum of their
gradients: the first to come writes it, the others add to it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.packing import Floats, aligned_floats
from tinyyolo3.engine.plan import INPUT
from tinyyolo3.network import specs
from tinyyolo3.network.parameters import Parameters
from tinyyolo3.train.cpu.maps import lower_add, lower_pack
from tinyyolo3.train.cpu.memory import Memory, PlannedMap, Stretch
from tinyyolo3.train.cpu.stages import Argument, Key, Row, Stage
from tinyyolo3.train.step import Recipe

#: Into how many jobs passes over maps are cut. Sums are taken job by job, so it must not depend on
#: the number of threads, if results are not to.
JOBS = 16

#: Adds a layer's stages of the way back; called with the gradient of the layer's output.
Backward = Callable[[PlannedMap], None]


@dataclass
class Assembly:
    """A training program being put together.

    Attributes:
        recipe: the network.
        workers: how many threads will share out the jobs.
        memory: of the program.
        stages: of the way that is being put together.
        outputs: each layer's output; the pictures' under `INPUT`, where a layer reads them so.
        gradients: of each map that has some, by the layer that owns it.
        backward: what each layer has still to add.
        found: arrays for the parameters' gradients, by layer and name.
        heads: what each head puts out.
        moments: arrays for each batch norm's mean and variance.
        parameters: those of the last call, for layers that are computed plainly.
        padded: the caller's arrays that kernels read with zeros behind: copied before each run.
        kept: arrays that are known by their addresses only, and must live as long as the program.
    """

    recipe: Recipe
    workers: int
    memory: Memory
    stages: list[Stage] = field(default_factory=list)
    outputs: dict[int, PlannedMap] = field(default_factory=dict)
    gradients: dict[int, PlannedMap] = field(default_factory=dict)
    backward: dict[int, Backward] = field(default_factory=dict)
    found: dict[int, dict[str, Floats]] = field(default_factory=dict)
    heads: dict[int, Floats] = field(default_factory=dict)
    moments: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    padded: dict[Key, Floats] = field(default_factory=dict)
    kept: list[Floats] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Of the mini-batch."""
        return self.memory.images

    def zeros(self, count: int) -> Floats:
        """Return an aligned array of zeros that lives as long as the program."""
        self.kept.append(aligned_floats(count))
        return self.kept[-1]

    def new_array(self, shape: tuple[int, ...]) -> Floats:
        """Return an array of this shape that lives as long as the program."""
        return self.zeros(math.prod(shape)).reshape(shape)

    def add(self, touched: Iterable[Stretch], rows: Callable[[], Iterable[Row]]) -> None:
        """Add a stage of rows."""
        self.stages.append(Stage(tuple(touched), rows))

    def add_lowered(
        self, maps: Iterable[PlannedMap], lower: Callable[[], Iterable[Lowered]]
    ) -> None:
        """Add a stage of rows that only touch maps, and whose records stay as they are."""
        self.add([each.stretch for each in maps], lambda: map(Row, lower()))

    def call(self, touched: Iterable[Stretch], function: Callable[[], None]) -> None:
        """Add a stage that is a call."""
        self.stages.append(Stage(tuple(touched), call=function))

    def output(self, index: int) -> PlannedMap:
        """Return where a layer's output lies; the pictures are packed when first asked for."""
        if index == INPUT and INPUT not in self.outputs:
            self.outputs[INPUT] = self.memory.new_map(self.recipe.graph.input_shape)
            self.add_packing(self.outputs[INPUT], ("pictures", INPUT, ""))
        return self.outputs[index]

    def new_output(self, layer: specs.Layer) -> PlannedMap:
        """Reserve a layer's output."""
        self.outputs[layer.index] = self.memory.new_map(layer.output_shape)
        return self.outputs[layer.index]

    def owner(self, index: int) -> int:
        """Return the layer whose map a layer's output is: a route of one passes its input on."""
        if index != INPUT:
            layer = self.recipe.graph.layers[index]
            if isinstance(layer, specs.Route) and len(layer.inputs) == layer.groups == 1:
                return self.owner(layer.inputs[0])
        return index

    def reached(self, index: int) -> bool:
        """Return whether gradients are carried to a layer."""
        return self.owner(index) >= self.recipe.first_reached

    def give_gradient(
        self, index: int, write: Callable[[PlannedMap, bool], None], *, adds: bool = False
    ) -> None:
        """Let a reader of a layer's output add the stages that write its gradient.

        Args:
            index: the layer that is read; nothing happens where no gradient is carried to.
            write: called with a map, and whether to add to what it holds instead of writing it.
            adds: whether `write` can add; if not, it writes another map, which is added.
        """
        if not self.reached(index):
            return
        owner = self.owner(index)
        if owner not in self.gradients:
            self.gradients[owner] = self.memory.new_map(self.outputs[owner].shape)
            write(self.gradients[owner], False)
        elif adds:
            write(self.gradients[owner], True)
        else:
            other = self.memory.new_map(self.outputs[owner].shape)
            write(other, False)
            total = self.gradients[owner]
            self.add_lowered(
                (total, other), lambda: lower_add(other.placed(), total.placed(), JOBS)
            )

    def pass_gradient(
        self, index: int, gradient: PlannedMap, write: Callable[[PlannedMap, bool], None]
    ) -> None:
        """Do what `give_gradient` does, handing a map itself on where it is the first to come.

        Args:
            index: the layer that is read.
            gradient: its gradient, which no later stage needs as it is.
            write: as there; it can add.
        """
        owner = self.owner(index)
        if self.reached(index) and owner not in self.gradients:
            self.gradients[owner] = gradient
        else:
            self.give_gradient(index, write, adds=True)

    def add_packing(self, target: PlannedMap, key: Key) -> None:
        """Add the stage that packs the caller's plain array (N, C, H, W) into a map."""

        def rows() -> Iterable[Row]:
            lowered = lower_pack(0, target.placed(), JOBS)
            return (Row(each, (Argument("source", key),)) for each in lowered)

        self.add((target.stretch,), rows)

    def parameter_gradient(self, layer: specs.Layer, name: str, shape: tuple[int, ...]) -> Floats:
        """Return the array for a parameter's gradient."""
        own = self.found.setdefault(layer.index, {})
        own[name] = self.new_array(shape)
        return own[name]
