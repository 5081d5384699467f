"""From a parsed cfg to a graph: sections in order, each with its inputs and shapes resolved."""

from collections.abc import Iterable
from math import prod
from numbers import Integral

from tinyyolo3.darknet.config import Config, Section
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.heads import HEAD_READERS
from tinyyolo3.network.parameters import layer_slots
from tinyyolo3.network.parity import FLAVOURS, Parity
from tinyyolo3.network.sections import MAX_CHANNELS, READERS, Place
from tinyyolo3.network.specs import Convolutional, Cost, Head, Layer, Maxpool

#: Width or height of a network's input.
MAX_INPUT_SIDE = 16384
#: Elements of one layer's output for one image, and parameters of the network: 8 GiB as float32.
#: Nothing that fits the machines this is for comes near; a cfg with a zero too many does.
MAX_ELEMENTS = 2**31

#: Sections of Darknet's that are known and not supported (parser.c string_to_layer_type).
OUT_OF_SCOPE = frozenset(
    {"rnn", "crnn", "gru", "lstm", "conv_lstm", "history", "local", "local_avgpool", "crop"}
    | {"detection", "gaussian_yolo", "iseg", "contrastive", "batchnorm", "activation", "lrn"}
    | {"normalization", "deconvolutional", "reorg3d", "logistic", "l2norm", "empty", "silence"}
    | {"implicit_add", "implicit_mul"}
)


def build_graph(
    config: Config,
    *,
    width: int | None = None,
    height: int | None = None,
    parity: Parity = FLAVOURS["alexeyab"],
) -> Graph:
    """Build the graph of `config`, at the cfg's own input size or another.

    Args:
        config: the parsed cfg.
        width: of the network's input in pixels, instead of [net] width.
        height: instead of [net] height.
        parity: whose numbers to follow.

    Raises:
        ConfigError: a section that is unknown or out of scope, an option that cannot be, layers
            that do not fit each other, or a size beyond all reason; with file and line.
        InputError: `width` or `height` is not a positive integer.
    """
    net = config.net
    network_shape = (
        net.integer("channels", 3, low=1, high=MAX_CHANNELS),
        _side(net, "height", height),
        _side(net, "width", width),
    )
    _check_elements(net, "the network's input", network_shape)
    layers: list[Layer] = []
    shapes: list[Shape] = []
    parameters = 0
    for section in config.layers:
        place = Place(len(layers), shapes, network_shape, parity)
        layer = _read_layer(section, place)
        _check_elements(section, "its output", layer.output_shape)
        _check_elements(section, "its padded input", _padded_shape(layer))
        parameters += sum(slot.count for slot in layer_slots(layer))
        if parameters > MAX_ELEMENTS:
            raise section.error(
                f"with it the network would have {parameters:,} parameters; "
                f"the limit is {MAX_ELEMENTS:,}"
            )
        layers.append(layer)
        shapes.append(layer.output_shape)
    if all(isinstance(layer, Cost) for layer in layers):
        raise ConfigError(f"{config.source}: there is no layer but [cost]")
    _check_heads(config, layers)
    return Graph(config, parity, network_shape, tuple(layers))


def _read_layer(section: Section, place: Place) -> Layer:
    reader = READERS.get(section.kind) or HEAD_READERS.get(section.kind)
    if reader is None:
        if section.kind in OUT_OF_SCOPE:
            raise section.error("sections of this kind are not supported")
        known = ", ".join([*READERS, *HEAD_READERS])
        raise section.error(f"unknown section; known are {known}")
    try:
        return reader(section, place)
    except InputError as problem:  # a shape rule, which does not know its place
        size = f"{place.network_shape[2]}x{place.network_shape[1]}"
        raise section.error(f"{problem} (network input {size})") from None


def _side(net: Section, name: str, override: int | None) -> int:
    if override is None:
        return net.integer(name, low=1, high=MAX_INPUT_SIDE)
    if isinstance(override, bool) or not isinstance(override, Integral):
        raise InputError(f"{name} must be an integer, not {override!r}")
    if not 1 <= override <= MAX_INPUT_SIDE:
        raise InputError(f"{name}={override} must be from 1 to {MAX_INPUT_SIDE}")
    return int(override)


def _check_elements(section: Section, what: str, shape: Iterable[int]) -> None:
    sides = tuple(shape)
    if prod(sides) > MAX_ELEMENTS:
        raise section.error(
            f"{what} would have {'x'.join(map(str, sides))} = {prod(sides):,} elements; "
            f"the limit is {MAX_ELEMENTS:,}"
        )


def _padded_shape(layer: Layer) -> Shape:
    """Return the shape of the main input with its padding, which a backend may well build."""
    channels, height, width = layer.input_shapes[0]
    border = 0
    if isinstance(layer, Convolutional):
        border = 2 * layer.padding * layer.dilation
    elif isinstance(layer, Maxpool):
        border = layer.padding
    return (channels, height + border, width + border)


def _check_heads(config: Config, layers: Iterable[Layer]) -> None:
    """Refuse heads that disagree on the classes: a class id would mean two things."""
    first: Head | None = None
    for head in layers:
        if not isinstance(head, Head):
            continue
        first = first or head
        if head.classes != first.classes:
            raise ConfigError(
                f"{config.source}:{head.line} [{head.kind}] classes={head.classes}, but the head "
                f"at line {first.line} has classes={first.classes}"
            )
