"""Random small networks: a Hypothesis strategy for cfg texts.

A network is drawn block by block, a block being what people write together: a convolution, a
pooling, a shortcut, squeeze-and-excitation. The shapes are followed with the package's own rules,
so every text drawn is one that Darknet would run. What OpenCV's importer reads differently (or
not at all) is left out on request, which makes it an oracle for the rest.

Needs `hypothesis`, which only tests install; nothing else in the package imports this module.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.darknet.weights import write_weights
from tinyyolo3.layers import shapes as rules
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.parameters import network_slots
from tinyyolo3.testing.weights import random_weights

#: What OpenCV 4's importer knows; it refuses the others (darknet_io.cpp setActivation).
OPENCV_ACTIVATIONS = ("linear", "leaky", "relu", "logistic", "swish", "mish", "tanh")
#: Activations without a kink: near one, rounding would decide which of two slopes counts.
SMOOTH_ACTIVATIONS = ("linear", "logistic", "mish", "swish", "tanh", "elu")
#: No map of a drawn network is larger.
MAX_SIDE = 48
MAX_CHANNELS = 24
#: The same for a wide network, whose maps fill several blocks of any processor's vectors.
MAX_WIDE_CHANNELS = 70


@dataclass(frozen=True)
class _Draft:
    """A network in the making: sections as text, and the output shape of each.

    Attributes:
        draw: Hypothesis's.
        opencv: whether to keep to what OpenCV reads as Darknet does.
        wide: whether to draw many channels, and often such numbers as fill vectors.
        smooth: whether to draw smooth activations alone.
        input_shape: of the network.
        sections: the layers' text.
        shapes: the layers' outputs.
        heads: indices of layers that nothing may read.
    """

    draw: st.DrawFn
    opencv: bool
    wide: bool
    smooth: bool
    input_shape: Shape
    sections: list[str]
    shapes: list[Shape]
    heads: list[int]

    @property
    def shape(self) -> Shape:
        """The output of the last layer, which the next one reads."""
        return self.shapes[-1] if self.shapes else self.input_shape

    def add(self, kind: str, shape: Shape, **options: object) -> int:
        """Append a section and return its index; an option that is None is left out."""
        lines = [f"{name}={value}" for name, value in options.items() if value is not None]
        self.sections.append("\n".join([f"[{kind}]", *lines]))
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def readable(self, accept: Callable[[Shape], bool]) -> list[int]:
        """Return the layers of an accepted shape that are no heads."""
        every = range(len(self.shapes))
        return [i for i in every if i not in self.heads and accept(self.shapes[i])]

    def reference(self, index: int) -> int:
        """Return a number that names layer `index` in the next section: its own or relative."""
        return self.draw(st.sampled_from([index, index - len(self.shapes)]))

    @property
    def max_channels(self) -> int:
        """The most channels of a convolution."""
        return MAX_WIDE_CHANNELS if self.wide else MAX_CHANNELS

    def filters(self, groups: int) -> int:
        """Draw a number of filters that so many groups share."""
        most = max(1, self.max_channels // groups)
        any_count = st.integers(1, most)
        if not self.wide:
            return groups * self.draw(any_count)
        full = [n // groups for n in (16, 32, 48) if n % groups == 0]
        return groups * self.draw(st.one_of(any_count, st.sampled_from([*full, most])))

    def activation(self) -> str | None:
        """Draw an activation; None leaves it to the flavour's default."""
        known: tuple[str, ...] = OPENCV_ACTIVATIONS if self.opencv else ACTIVATIONS
        if self.smooth:
            return self.draw(st.sampled_from(SMOOTH_ACTIVATIONS))
        return self.draw(st.sampled_from([*known, None]))


@st.composite
def network_configs(
    draw: st.DrawFn,
    *,
    opencv: bool = False,
    wide: bool = False,
    trainable: bool = False,
    max_blocks: int = 8,
    min_side: int = 8,
) -> str:
    """Draw the cfg text of a small network, ending in heads, a classifier or neither.

    Args:
        draw: given by Hypothesis.
        opencv: keep to what OpenCV 4's Darknet importer supports with Darknet's meaning.
        wide: draw up to `MAX_WIDE_CHANNELS` channels, and residual blocks.
        trainable: draw layers that a gradient can pass, smooth activations, and a head at the end.
        max_blocks: how many blocks of one to three sections stand between input and tail.
        min_side: of the network's input in pixels; at most 40.
    """
    side = st.integers(min_side, 40)
    input_shape = (draw(st.integers(1, 4)), draw(side), draw(side))
    draft = _Draft(draw, opencv, wide, trainable, input_shape, [], [], [])
    _convolution(draft)
    assume(draft.sections)  # a first layer that grows its map beyond `MAX_SIDE` is left out
    blocks = _WIDE_BLOCKS if wide else _BLOCKS
    if trainable:
        blocks = _TRAINABLE_BLOCKS
    for block in draw(st.lists(st.sampled_from(blocks), max_size=max_blocks)):
        block(draft)
    draw(st.sampled_from((_heads,) if trainable else _TAILS))(draft)
    channels, height, width = input_shape
    net = f"[net]\nwidth={width}\nheight={height}\nchannels={channels}"
    return "\n\n".join([net, *draft.sections]) + "\n"


def write_random_network(folder: Path, cfg_text: str, seed: int) -> tuple[Path, Path]:
    """Write a cfg and random weights for it to a folder, and return both paths."""
    graph = build_graph(parse_config(cfg_text))
    cfg, weights = folder / "network.cfg", folder / "network.weights"
    cfg.write_text(cfg_text)
    write_weights(weights, network_slots(graph), random_weights(graph, seed))
    return cfg, weights


def _convolution(draft: _Draft) -> None:
    draw, (channels, height, width) = draft.draw, draft.shape
    flag = draw(st.booleans())
    padding = draw(st.integers(0, 3))
    dilation = 1 if draft.opencv else draw(st.integers(1, 2))

    def fits(size: int) -> bool:
        pad = size // 2 if flag else padding
        return dilation * (size - 1) < min(height, width) + 2 * pad * dilation

    size = draw(st.sampled_from([k for k in (1, 3, 5, 2) if fits(k)]))
    if size == 1:
        dilation = 1  # as Darknet has it
    pad = size // 2 if flag else padding
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    if draft.opencv:
        stride = (stride[0], stride[0])
    groups = draw(st.sampled_from([1, 1, channels, *_divisors(channels)]))
    if draft.opencv and min(height, width) == 1:
        groups = 1  # its depthwise convolution reads beyond so narrow or low a map
    filters = draft.filters(groups)
    shape = rules.convolution_shape(
        draft.shape,
        filters=filters,
        size=size,
        stride=stride,
        padding=pad,
        dilation=dilation,
        groups=groups,
    )
    if max(shape[1:]) > MAX_SIDE:
        return
    draft.add(
        "convolutional",
        shape,
        batch_normalize=draw(st.sampled_from([1, 0, None])),
        filters=filters,
        groups=groups if groups > 1 else None,
        size=size,
        pad=int(flag),
        padding=padding if padding else None,
        dilation=dilation if dilation > 1 else None,
        **_stride_options(stride),
        activation=draft.activation(),
    )


def _maxpool(draft: _Draft) -> None:
    draw, shape = draft.draw, draft.shape
    size = draw(st.integers(1, 5))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    # The importer drops the last window where it lies wholly in the padding; there Darknet puts out
    # the least of all floats, which no sum behind it survives.
    most = size - 1 if draft.opencv or draft.wide or draft.smooth else size + 1
    padding = draw(st.integers(min(most, max(0, size - min(shape[1:]))), most))
    if draft.opencv:
        stride = (stride[0], stride[0])
    pooled = rules.maxpool_shape(shape, size=size, stride=stride, padding=padding)
    default = padding == size - 1 and draw(st.booleans())
    written = None if default else padding
    draft.add("maxpool", pooled, size=size, **_stride_options(stride), padding=written)


def _upsample(draft: _Draft) -> None:
    stride = draft.draw(st.integers(2, 3))
    shape = rules.upsample_shape(draft.shape, stride=stride)
    if max(shape[1:]) <= MAX_SIDE:
        scale = None if draft.opencv else draft.draw(st.sampled_from([None, 0.5]))
        draft.add("upsample", shape, stride=stride, scale=scale)


def _route(draft: _Draft) -> None:
    draw, sides = draft.draw, draft.shape[1:]
    fitting = draft.readable(lambda shape: shape[1:] == sides)
    layers = draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3))
    groups = 1
    if len(layers) == 1 or not draft.opencv:
        common = np.gcd.reduce([draft.shapes[i][0] for i in layers])
        groups = draw(st.sampled_from([1, *_divisors(int(common))]))
    shape = rules.route_shape([draft.shapes[i] for i in layers], groups=groups)
    if shape[0] > 2 * draft.max_channels:
        return
    draft.add(
        "route",
        shape,
        layers=",".join(str(draft.reference(i)) for i in layers),
        groups=groups if groups > 1 else None,
        group_id=draw(st.integers(0, groups - 1)) if groups > 1 else None,
    )


def _shortcut(draft: _Draft) -> None:
    shape = draft.shape

    def fits(other: Shape) -> bool:
        if draft.opencv or other[1:] == shape[1:]:
            return other[1:] == shape[1:]
        factor = max(other[2] // shape[2], shape[2] // other[2])
        large, small = max(other[1:], shape[1:]), min(other[1:], shape[1:])
        return large == (small[0] * factor, small[1] * factor)

    sources = draft.draw(
        st.lists(
            st.sampled_from(draft.readable(fits)),
            min_size=1,
            max_size=1 if draft.opencv else 2,
        )
    )
    origins = ",".join(str(draft.reference(i)) for i in sources)
    draft.add("shortcut", shape, **{"from": origins}, activation=draft.activation())


def _residual(draft: _Draft) -> None:
    """YOLOv3's own block: a bottleneck, a 3 x 3 convolution, a dropout perhaps, and the sum."""
    draw, shape, source = draft.draw, draft.shape, len(draft.shapes) - 1
    leaky = {"activation": "leaky"}
    narrow = draft.filters(1)
    draft.add("convolutional", (narrow, *shape[1:]), filters=narrow, size=1, **leaky)
    draft.add("convolutional", shape, filters=shape[0], size=3, pad=1, **leaky)
    if draw(st.booleans()):
        _dropout(draft)
    origin = {"from": draft.reference(source)}
    draft.add("shortcut", shape, **origin, activation=draw(st.sampled_from(["linear", "leaky"])))


def _squeeze_excitation(draft: _Draft) -> None:
    """Hu et al., Squeeze-and-Excitation Networks, 2018: channels weighed by their own means."""
    shape, source = draft.shape, len(draft.shapes) - 1
    draft.add("avgpool", rules.avgpool_shape(shape))
    _gate(draft, shape[0])
    origin = {"from": draft.reference(source)}
    draft.add("scale_channels", shape, **origin, activation=draft.activation())


def _pixel_gate(draft: _Draft) -> None:
    """Weigh each pixel, or each number, of a map by a map of its own."""
    shape, source = draft.shape, len(draft.shapes) - 1
    if draft.opencv or draft.draw(st.booleans()):
        _gate(draft, shape[0])
        origin = {"from": draft.reference(source)}
        draft.add("sam", shape, **origin, activation=draft.activation())
    else:
        _gate(draft, 1)
        origin = {"from": draft.reference(source)}
        draft.add("scale_channels", shape, **origin, scale_wh=1, activation=draft.activation())


def _gate(draft: _Draft, filters: int) -> None:
    shape = (filters, *draft.shape[1:])
    draft.add("convolutional", shape, filters=filters, size=1, activation="logistic")


def _dropout(draft: _Draft) -> None:
    draft.add("dropout", draft.shape, probability=0.5)


def _reorg(draft: _Draft) -> None:
    channels, height, width = draft.shape
    if channels % 4 == 0 and channels <= 8 and height % 2 == 0 and width % 2 == 0:
        draft.add("reorg", rules.reorg_shape(draft.shape, stride=2), stride=2)


def _heads(draft: _Draft) -> None:
    classes = draft.draw(st.integers(1, 4))
    for remaining in range(draft.draw(st.integers(1, 2)), 0, -1):
        _yolo(draft, classes)
        if remaining > 1:
            chosen = draft.draw(st.sampled_from(draft.readable(lambda _: True)))
            draft.add("route", draft.shapes[chosen], layers=draft.reference(chosen))
            _upsample(draft)


def _yolo(draft: _Draft, classes: int) -> None:
    draw = draft.draw
    total = draw(st.integers(1, 4))
    mask = draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=3, unique=True))
    new_coords = None if draft.smooth else draw(st.sampled_from([None, 1]))
    shape = ((classes + 5) * len(mask), *draft.shape[1:])
    activation = "logistic" if new_coords else "linear"
    draft.add("convolutional", shape, filters=shape[0], size=1, activation=activation)
    anchors = [draw(st.integers(2, 80)) / 2 for _ in range(2 * total)]
    head = draft.add(
        "yolo",
        shape,
        classes=classes,
        num=total,
        mask=",".join(map(str, mask)),
        anchors=",".join(map(str, anchors)),
        scale_x_y=draw(st.sampled_from([None, 1.05, 2.0])),
        new_coords=new_coords,
        thresh=draw(st.sampled_from([None, 0.0, 0.45])),  # only OpenCV looks at it
    )
    draft.heads.append(head)


def _classifier(draft: _Draft) -> None:
    draw = draft.draw
    outputs = draw(st.integers(1, 9))
    if draft.opencv or draw(st.booleans()):
        draft.add("avgpool", rules.avgpool_shape(draft.shape))
    normalize = None if draft.opencv else draw(st.sampled_from([None, 1]))
    draft.add(
        "connected",
        (outputs, 1, 1),
        output=outputs,
        batch_normalize=normalize,
        activation=draft.activation(),
    )
    if draw(st.booleans()):
        _dropout(draft)
    groups = temperature = None
    if not draft.opencv:
        groups = draw(st.sampled_from([None, *_divisors(outputs)]))
        temperature = draw(st.sampled_from([None, 2.0]))
    draft.add("softmax", draft.shape, groups=groups, temperature=temperature)
    if draw(st.booleans()):
        draft.add("cost", draft.shape)


def _no_tail(draft: _Draft) -> None:
    """Leave the network as it is."""


def _divisors(number: int) -> list[int]:
    return [d for d in range(2, number + 1) if number % d == 0]


def _stride_options(stride: tuple[int, int]) -> dict[str, int]:
    if stride[0] == stride[1]:
        return {"stride": stride[0]}
    return {"stride_y": stride[0], "stride_x": stride[1]}


_BLOCKS: tuple[Callable[[_Draft], None], ...] = (
    *(_convolution, _maxpool, _upsample, _route, _shortcut),
    *(_squeeze_excitation, _pixel_gate, _dropout, _reorg),
)
_WIDE_BLOCKS = (*_BLOCKS, _residual, _convolution, _route)
_TRAINABLE_BLOCKS = (
    *(_convolution, _convolution, _maxpool, _upsample, _route, _shortcut, _squeeze_excitation),
)
_TAILS: tuple[Callable[[_Draft], None], ...] = (_no_tail, _heads, _classifier)
