"""Plans proved by running them on names: what each number of memory stands for, whatever it is.

Every float of the arena holds the name of a value, "channel c of layer l". A step reads names and
must find those of the layers that the graph says it reads, in every pixel and every channel; then
it writes its own. So a map that is overwritten before its last reader, a wrong offset or stride, a
missing copy, or steps in a wrong order show up as a wrong name, whatever the algorithms do.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.engine.layout import Blocked, ChannelsLast
from tinyyolo3.engine.plan import INPUT, Buffer, Place, Plan, Step
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

Names = NDArray[np.int64]
#: What nobody has written since its buffer came to life; and what holds some number.
UNWRITTEN, NUMBER = -2, -1
#: Names of one layer's channels begin at its index plus one times this.
CHANNELS = 1 << 20


def check_plan(graph: Graph, plan: Plan, layout: Blocked | ChannelsLast) -> None:
    """Check all that must hold of a plan whose maps lie as the layout says.

    Raises:
        AssertionError: it does not.
    """
    check_buffers(plan, layout.alignment)
    run = _Run(graph, plan, layout)
    for number, step in enumerate(plan.steps):
        run.number = number
        run.begin_lives()
        run.step(step)
    unpacked = [step.layer for step in plan.steps if step.algorithm == "unpack"]
    assert tuple(unpacked) == plan.outputs, "the outputs, in order"


def check_buffers(plan: Plan, alignment: int) -> None:
    """Check that buffers are aligned, inside the arena, and apart from others of their time."""
    touched: dict[int, list[int]] = {}
    for number, step in enumerate(plan.steps):
        for place in (*step.inputs, step.output, step.residual):
            if place is not None:
                touched.setdefault(place.buffer, []).append(number)
        if step.workspace is not None:
            touched.setdefault(step.workspace, []).append(number)
    lives = {b: (min(numbers), max(numbers)) for b, numbers in touched.items()}
    used = [(plan.buffers[b], *lives[b]) for b in lives]
    for buffer, first, last in used:
        assert (buffer.first, buffer.last) == (first, last), f"the life of {buffer}"
        assert buffer.offset % alignment == 0, f"{buffer} is not aligned"
        assert buffer.offset >= 0, buffer
        assert buffer.offset + buffer.bytes <= plan.arena_bytes, f"{buffer} leaves the arena"
    for i, (one, first, last) in enumerate(used):
        for other, begin, end in used[:i]:
            if first <= end and begin <= last:
                assert not _share(one, other), f"{one} and {other} share memory"
    assert plan.arena_bytes <= sum(buffer.bytes for buffer, _, _ in used)


def _share(one: Buffer, other: Buffer) -> bool:
    return one.offset < other.offset + other.bytes and other.offset < one.offset + one.bytes


@dataclass
class _Run:
    """A plan being run on names.

    Attributes:
        graph: the layers.
        plan: their plan.
        layout: how its maps lie in memory.
        number: the step that is running.
    """

    graph: Graph
    plan: Plan
    layout: Blocked | ChannelsLast
    number: int = 0
    memory: Names = field(init=False)
    names: dict[int, Names] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """How many channels of a pixel are written together: those of a block, or one."""
        return self.layout.lanes if isinstance(self.layout, Blocked) else 1

    @property
    def unit(self) -> int:
        """The bytes of what is named at a time; a float among halves is named at its begin."""
        return self.layout.element_bytes * self.lanes

    def __post_init__(self) -> None:
        units = self.plan.arena_bytes // self.unit
        self.memory = np.full((units, self.lanes), UNWRITTEN, np.int64)
        channels = self.graph.input_shape[0]
        self.names[INPUT] = np.arange(channels)
        for layer in self.graph.layers:
            self.names[layer.index] = self._output_names(layer)

    def _output_names(self, layer: specs.Layer) -> Names:
        read = [self.names[i] for i in layer.inputs]
        if isinstance(layer, specs.Dropout | specs.Cost):
            return read[0]
        if isinstance(layer, specs.Route):
            share = [len(names) // layer.groups for names in read]
            first = [layer.group_id * s for s in share]
            cut = zip(read, first, share, strict=True)
            return np.concatenate([names[f : f + s] for names, f, s in cut])
        return (layer.index + 1) * CHANNELS + np.arange(layer.output_shape[0])

    def begin_lives(self) -> None:
        """Forget what lay where buffers come to life in this step, or come to their end before."""
        for buffer in self.plan.buffers:
            if buffer.bytes and (buffer.first == self.number or buffer.last == self.number - 1):
                start = buffer.offset // self.unit
                self.memory[start : start + buffer.bytes // self.unit] = UNWRITTEN

    def units(self, place: Place) -> NDArray[np.int64]:
        """Return the indices of a map's vectors, (blocks, pixels), after checking its bounds."""
        if isinstance(self.layout, ChannelsLast):
            return self._floats(place, self.layout)
        channels, height, width = place.shape
        unit, buffer = self.unit, self.plan.buffers[place.buffer]
        assert place.offset % unit == place.stride % unit == 0, f"{place} is not aligned"
        assert place.stride >= height * width * unit, f"blocks overlap: {place}"
        blocks = -(-channels // self.lanes)
        end = place.offset + (blocks - 1) * place.stride + height * width * unit
        assert 0 <= place.offset < end <= buffer.bytes, f"{place} leaves {buffer}"
        starts = (buffer.offset + place.offset + place.stride * np.arange(blocks)) // unit
        return starts[:, None] + np.arange(height * width)

    def _floats(self, place: Place, layout: ChannelsLast) -> NDArray[np.int64]:
        """Return the indices of a map's numbers, (channels, pixels of all images)."""
        channels, height, width = place.shape
        pixels, buffer = layout.images * height * width, self.plan.buffers[place.buffer]
        assert place.offset % 16 == place.stride % 16 == 0, f"{place} is not aligned"
        size = place.element_bytes
        assert place.offset + size * channels <= place.stride, f"pixels overlap: {place}"
        end = place.offset + (pixels - 1) * place.stride + size * channels
        assert 0 <= place.offset < end <= buffer.bytes, f"{place} leaves {buffer}"
        starts = buffer.offset + place.offset + size * np.arange(channels)
        return (starts[:, None] + place.stride * np.arange(pixels)) // self.unit

    def read(self, place: Place, expected: Names, first: int = 0) -> None:
        """Check that a map's channels from `first` on are the expected ones, in each pixel."""
        found = self.memory[self.units(place)]  # (blocks, pixels, lanes)
        channels = found.transpose(0, 2, 1).reshape(-1, found.shape[1])
        what = f"step {self.number}, {self.plan.steps[self.number]}"
        assert (channels != UNWRITTEN).all(), f"{what} reads what nobody wrote"
        part = channels[first : first + len(expected)]
        assert (part == expected[:, None]).all(), f"{what} reads another map"

    def write(self, place: Place, names: Names, first: int = 0, whole: bool = True) -> None:
        """Name the channels of a map from `first` on; the last block's rest holds numbers."""
        units = self.units(place)
        assert first + len(names) <= place.shape[0], f"step {self.number} writes behind {place}"
        for position, name in enumerate(names, first):
            self.memory[units[position // self.lanes], position % self.lanes] = name
        end = first + len(names)
        if whole:
            self.memory[units[(end - 1) // self.lanes], (end - 1) % self.lanes + 1 :] = NUMBER

    def step(self, step: Step) -> None:
        """Read and write what a step does, and check that it does not write what it reads."""
        if step.algorithm == "pack":
            assert step.output is not None
            self.write(step.output, self.names[INPUT])
        elif step.algorithm == "unpack":
            assert step.inputs[0] is not None
            assert step.inputs[0].shape == self._shape(step.layer)
            self.read(step.inputs[0], self.names[step.layer])
        elif step.algorithm == "copy":
            self._copy(step)
        elif step.algorithm == "activation":
            assert step.output is not None
            assert step.inputs == (step.output,)
            self.read(step.output, -self.names[step.layer])
            self.write(step.output, self.names[step.layer])
        else:
            self._compute(step)

    def _shape(self, index: int) -> tuple[int, int, int]:
        return self.graph.input_shape if index == INPUT else self.graph.layers[index].output_shape

    def _copy(self, step: Step) -> None:
        layer, (first, channel) = self.graph.layers[step.layer], step.offset
        source, output = step.inputs[0], step.output
        assert source is not None
        assert output is not None
        names = self.names[step.layer][channel : channel + source.shape[0]]
        reach = (first + source.shape[0], *source.shape[1:])
        whole = replace(source, shape=reach)
        self._apart(output, whole, step, channel, first)
        self.read(whole, names, first)
        self.write(output, names, channel, channel + len(names) == layer.output_shape[0])

    def _apart(self, output: Place, source: Place, step: Step, channel: int, first: int) -> None:
        """Check that no block is both read and written by a copy."""
        count = source.shape[0] - first
        read = self.units(source)[first // self.lanes :]
        written = self.units(output)[channel // self.lanes : -(-(channel + count) // self.lanes)]
        assert not np.intersect1d(read, written).size, f"{step} copies onto itself"

    def _compute(self, step: Step) -> None:
        layer = self.graph.layers[step.layer if step.weights is None else step.weights]
        alike = (step.layer, step.algorithm, step.weights)
        parts = sum(alike == (s.layer, s.algorithm, s.weights) for s in self.plan.steps)
        assert step.output is not None
        written = self.units(step.output)
        for place, used in zip(step.inputs, layer.inputs, strict=True):
            if place is None:
                assert used == INPUT
            else:
                self._read_part(step, place, used, parts)
        fused = self.graph.layers[step.layer]
        if step.layer != layer.index and isinstance(fused, specs.Shortcut):
            assert step.residual is not None
            self._read_part(step, step.residual, fused.inputs[1], parts)
        else:
            assert step.residual is None
            assert step.layer == layer.index or isinstance(fused, specs.Maxpool)
        if step.workspace is not None:
            self._workspace(step, written)
        following = self.plan.steps[self.number + 1 :]
        pending = any(s.algorithm == "activation" and s.layer == step.layer for s in following)
        names = self._share(step.output, step, self.names[step.layer], parts)
        self.write(step.output, -names if pending else names)

    def _read_part(self, step: Step, place: Place, used: int, parts: int) -> None:
        assert place.shape[1:] == self._shape(used)[1:]
        self.read(place, self._share(place, step, self.names[used], parts))
        assert step.output is not None
        both = np.intersect1d(self.units(place), self.units(step.output))
        assert not both.size, f"{step} writes what it reads"

    def _share(self, place: Place, step: Step, names: Names, parts: int) -> Names:
        """Return the names that one of several equal parts of a layer reads or writes."""
        share = place.shape[0]
        assert share * parts == len(names), f"{place} is no part of {len(names)} channels"
        return names[step.part * share : (step.part + 1) * share]

    def _workspace(self, step: Step, written: Names) -> None:
        assert step.workspace is not None
        buffer, unit = self.plan.buffers[step.workspace], self.unit
        own = np.arange(buffer.offset // unit, (buffer.offset + buffer.bytes) // unit)
        places = [place for place in (*step.inputs, step.residual) if place is not None]
        for used in (written, *map(self.units, places)):
            assert not np.intersect1d(own, used).size, f"{step}: workspace in use"
