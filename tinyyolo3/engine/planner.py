"""Making a plan: what takes a step, who writes where, what is joined by lying side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tinyyolo3.engine.arena import assign_offsets
from tinyyolo3.engine.layout import Layout
from tinyyolo3.engine.plan import INPUT, Chooser, Place, Plan, Step
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph


def fused_shortcuts(
    graph: Graph, wanted: Iterable[int], live: set[int], choose: Chooser
) -> dict[int, int]:
    """Map each shortcut that its convolution can add itself to that convolution.

    The convolution's own output must not be needed, its algorithm must be able to, and the sum be
    a plain one of equal shapes, whose other part is there in time.
    """
    readers = count_readers(graph, wanted, live)
    fused = {}
    for index in sorted(live):
        layer = graph.layers[index]
        if not isinstance(layer, specs.Shortcut) or len(layer.inputs) != 2:
            continue
        main, other = layer.inputs
        alone = True
        while main != INPUT:
            alone = alone and readers[main] == 1
            if not isinstance(graph.layers[main], specs.Dropout):
                break
            main = graph.layers[main].inputs[0]
        before = graph.layers[main] if main != INPUT else None
        if (
            alone
            and isinstance(before, specs.Convolutional)
            and choose(before).residual
            and INPUT < other < main
            and layer.input_shapes[0] == layer.input_shapes[1]
            and layer.activation == "linear"
            and layer.alpha == layer.beta == 1
        ):
            fused[index] = main
    return fused


def fused_pools(
    graph: Graph, wanted: Iterable[int], live: set[int], choose: Chooser
) -> dict[int, int]:
    """Map each pooling that its convolution can do itself to that convolution.

    It halves a map of even sides by windows of 2 × 2, and nobody else reads that.
    """
    readers = count_readers(graph, wanted, live)
    fused = {}
    for index in sorted(live):
        layer = graph.layers[index]
        if not isinstance(layer, specs.Maxpool) or layer.inputs[0] == INPUT:
            continue
        before = graph.layers[layer.inputs[0]]
        _, height, width = layer.input_shapes[0]
        if (
            isinstance(before, specs.Convolutional)
            and readers[before.index] == 1
            and choose(before).pools
            and (layer.size, layer.stride) == (2, (2, 2))
            and layer.padding < 2  # which is all to the right and below, if there is any
            and height % 2 == width % 2 == 0
            and layer.output_shape[1:] == (height // 2, width // 2)
        ):
            fused[index] = before.index
    return fused


def count_readers(graph: Graph, wanted: Iterable[int], live: Iterable[int]) -> dict[int, int]:
    """Return how many read each layer's output: live layers, and the caller."""
    readers: dict[int, int] = dict.fromkeys(wanted, 1)
    for index in live:
        for used in graph.layers[index].inputs:
            readers[used] = readers.get(used, 0) + 1
    return readers


def live_layers(graph: Graph, wanted: Iterable[int]) -> set[int]:
    """Return the layers that those in `wanted` depend on, themselves included."""
    live = set(wanted)
    for layer in reversed(graph.layers):
        if layer.index in live:
            live.update(used for used in layer.inputs if used != INPUT)
    return live


@dataclass
class Planner:
    """Builds a plan step by step; `make_plan` is the way in.

    Attributes:
        graph: the layers.
        layout: how maps lie in memory.
        choose: names each layer's algorithm.
        float_layout: how the maps lie that heads read.
        floats: the layers that write floats: heads, and those that only heads read.
        copied: the places of copies in the other layout, by layer.
    """

    graph: Graph
    layout: Layout
    choose: Chooser
    float_layout: Layout
    floats: set[int] = field(default_factory=set)
    copied: dict[int, Place] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    owners: dict[int, Place] = field(default_factory=dict)
    placed: dict[int, tuple[int, int]] = field(default_factory=dict)

    def resolve(self, index: int) -> tuple[int, int]:
        """Return the layer in whose map the output of `index` lies, and its first channel there."""
        if index == INPUT:
            return INPUT, 0
        layer = self.graph.layers[index]
        if isinstance(layer, specs.Dropout | specs.Cost):
            return self.resolve(layer.inputs[0])
        if isinstance(layer, specs.Route) and len(layer.inputs) == 1:
            owner, first = self.resolve(layer.inputs[0])
            first += layer.group_id * layer.output_shape[0]
            if layer.groups == 1 or (self.layout.begins(first) and owner != INPUT):
                return owner, first
        return index, 0

    def new_buffer(self, size: int) -> int:
        """Reserve a buffer and return its index."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def owned(self, owner: int) -> Place:
        """Return the place of a layer that has memory of its own, giving it some if need be."""
        if owner not in self.owners:
            shape = self.graph.input_shape if owner == INPUT else self._shape(owner)
            if owner in self.placed:
                route, channel = self.placed[owner]
                outer = self.owned(route)
                offset = outer.offset + self.layout.offset(channel, outer.stride)
                self.owners[owner] = replace(outer, offset=offset, shape=shape)
            else:
                layout = self.float_layout if owner in self.floats else self.layout
                self.owners[owner] = self._new_place(layout, shape)
        return self.owners[owner]

    def _new_place(self, layout: Layout, shape: Shape) -> Place:
        stride = layout.stride(shape)
        buffer = self.new_buffer(layout.size(shape, stride))
        return Place(buffer, 0, stride, shape, layout.element_bytes)

    def place(self, index: int) -> Place:
        """Return where the output of a layer lies."""
        owner, first = self.resolve(index)
        found = self.owned(owner)
        shape = self.graph.input_shape if index == INPUT else self._shape(index)
        offset = found.offset + self.layout.offset(first, found.stride)
        return replace(found, offset=offset, shape=shape)

    def write_floats(self, live: set[int], wanted: Iterable[int]) -> None:
        """Decide which layers write floats: heads, and what nobody else reads than heads."""
        if self.layout.element_bytes == self.float_layout.element_bytes:
            return
        self.floats.update(head.index for head in self.graph.heads)
        read_elsewhere = {
            self.resolve(used)[0]
            for layer in self.graph.layers
            if layer.index in live and not isinstance(layer, specs.Head)
            for used in layer.inputs
            if self.resolve(layer.index)[0] != self.resolve(used)[0]
        }
        for index in self.head_inputs() & (live | set(wanted)):
            layer = self.graph.layers[index]
            if index not in read_elsewhere and self.choose(layer).floats:
                self.floats.add(index)

    def head_inputs(self) -> set[int]:
        """Return the layers that heads read."""
        return {index for head in self.graph.heads for index in head.inputs}

    def place_in(self, layout: Layout, index: int) -> Place:
        """Return where a layer's output lies in a layout, adding a copy of it if need be."""
        found = self.place(index)
        if found.element_bytes == layout.element_bytes:
            return found
        if index not in self.copied:
            owner, first = self.resolve(index)
            source = replace(self.owned(owner), shape=found.shape)
            output = self._new_place(layout, found.shape)
            step = Step(index, "copy", inputs=(source,), output=output, offset=(first, 0))
            self.steps.append(step)
            self.copied[index] = output
        return self.copied[index]

    def place_in_routes(self, live: set[int]) -> None:
        """Decide which layers write straight into the map of a route that joins them."""
        for index in sorted(live):
            layer = self.graph.layers[index]
            if not isinstance(layer, specs.Route) or len(layer.inputs) == 1 or layer.groups > 1:
                continue
            channel = 0
            for position, used in enumerate(layer.inputs):
                owner, first = self.resolve(used)
                channels = self._shape(used)[0] if used != INPUT else self.graph.input_shape[0]
                last = position == len(layer.inputs) - 1
                whole = owner != INPUT and first == 0 and self._shape(owner)[0] == channels
                fits = self.layout.joins(channel, channels, last)
                free = owner not in self.placed and owner not in self.floats
                if whole and fits and free and owner != index:
                    self.placed[owner] = (index, channel)
                channel += channels

    def add_route(self, layer: specs.Route) -> None:
        """Add the copies of those inputs that do not lie in the route's map already."""
        channel = 0
        output = self.owned(layer.index)
        counted = enumerate(zip(layer.inputs, layer.input_shapes, strict=True))
        for position, (used, shape) in counted:
            owner, first = self.resolve(used)
            if self.placed.get(owner) != (layer.index, channel):
                source = replace(self.owned(owner), shape=shape)
                step = Step(layer.index, "copy", inputs=(source,), output=output, part=position)
                self.steps.append(replace(step, offset=(first, channel)))
            channel += shape[0]

    def add_layer(self, layer: specs.Layer, fused: specs.Layer | None) -> None:
        """Add the steps of a layer that computes something, with one that is done in it or None."""
        choice = self.choose(layer)
        target = layer.index if fused is None else fused.index
        weights = layer.index if isinstance(layer, specs.Convolutional) else None
        workspace = self.new_buffer(choice.workspace_bytes) if choice.workspace_bytes else None
        layout = self.float_layout if isinstance(layer, specs.Head) else self.layout
        inputs: tuple[Place | None, ...] = tuple(
            None if choice.plain_input and used == INPUT else self.place_in(layout, used)
            for used in layer.inputs
        )
        residual = None
        if isinstance(fused, specs.Shortcut):
            residual = self.place_in(layout, fused.inputs[1])
        output = self.place(target)
        for part in range(choice.parts):
            self.steps.append(
                Step(
                    target,
                    choice.algorithm,
                    weights,
                    tuple(self._part(p, part, choice.parts) for p in inputs),
                    self._part(output, part, choice.parts),
                    self._part(residual, part, choice.parts),
                    part,
                    workspace=workspace,
                )
            )
        if choice.activation:
            self.steps.append(Step(layer.index, "activation", inputs=(output,), output=output))

    def _part(self, place: Place | None, part: int, parts: int) -> Place | None:
        if place is None or parts == 1:
            return place
        channels, height, width = place.shape
        own = channels // parts
        offset = place.offset + self.layout.offset(part * own, place.stride)
        return replace(place, offset=offset, shape=(own, height, width))

    def _shape(self, index: int) -> Shape:
        return self.graph.layers[index].output_shape


def make_plan(
    graph: Graph,
    wanted: Sequence[int],
    layout: Layout,
    choose: Chooser,
    float_layout: Layout | None = None,
) -> Plan:
    """Plan a network.

    Args:
        graph: its layers.
        wanted: the layers whose outputs the caller gets.
        layout: how maps lie in memory.
        choose: names the algorithm of each layer that computes something.
        float_layout: how maps of floats lie; as all others when None.
    """
    live = live_layers(graph, wanted)
    fused = fused_shortcuts(graph, wanted, live, choose) | fused_pools(graph, wanted, live, choose)
    planner = Planner(graph, layout, choose, float_layout or layout)
    planner.write_floats(live, wanted)
    planner.place_in_routes(live)
    fused_in = {conv: graph.layers[index] for index, conv in fused.items()}
    for index in sorted(live):
        layer = graph.layers[index]
        if index in fused or planner.resolve(index) != (index, 0):
            continue
        if isinstance(layer, specs.Route) and layer.groups == 1:
            planner.add_route(layer)
            continue
        if isinstance(layer, specs.Route) and len(layer.inputs) == 1:
            _add_slice(planner, layer)
            continue
        planner.add_layer(layer, fused_in.get(index))
    logits = planner.head_inputs()
    for index in wanted:
        of_head = index in logits
        place = planner.place_in(planner.float_layout, index) if of_head else planner.place(index)
        planner.steps.append(Step(index, "unpack", inputs=(place,)))
    if INPUT in planner.owners:
        place = planner.owners[INPUT]
        planner.steps.insert(0, Step(INPUT, "pack", inputs=(None,), output=place))
    buffers, total = assign_offsets(planner.steps, planner.sizes, layout.alignment)
    return Plan(tuple(planner.steps), buffers, total, tuple(wanted))


def _add_slice(planner: Planner, layer: specs.Route) -> None:
    """Add the copy of a group of channels that cannot begin a map."""
    owner, first = planner.resolve(layer.inputs[0])
    source = replace(planner.owned(owner), shape=layer.output_shape)
    first += layer.group_id * layer.output_shape[0]
    output = planner.owned(layer.index)
    step = Step(layer.index, "copy", inputs=(source,), output=output, offset=(first, 0))
    planner.steps.append(step)
