"""One function per section kind: its options, as Darknet's parser.c reads them, into a spec."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.darknet.config import Section
from tinyyolo3.layers import shapes as rules
from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs
from tinyyolo3.network.parity import Parity

#: A side, a kernel, a stride beyond this is a typing error, not a network.
MAX_LENGTH = 65536
MAX_CHANNELS = 2**24

#: Options of [convolutional] that would change its numbers.
UNSUPPORTED_CONVOLUTIONS = (
    *("binary", "xnor", "antialiasing", "share_index", "flipped", "deform", "dot"),
    *("sway", "rotate", "stretch", "stretch_sway", "reverse"),
)


@dataclass(frozen=True)
class Place:
    """Where a layer stands: what its section can refer to."""

    index: int
    shapes: Sequence[Shape]
    network_shape: Shape
    parity: Parity

    def shape(self, index: int) -> Shape:
        """Return the output shape of layer `index`; -1 is the network's input."""
        return self.network_shape if index < 0 else self.shapes[index]

    def resolve(self, section: Section, option: str) -> tuple[int, ...]:
        """Return the layers that `option` names: negative counts back from here, others from 0."""
        found = []
        for number in section.integers(option):
            target = self.index + number if number < 0 else number
            if not 0 <= target < self.index:
                raise section.error(
                    f"{section.quote(option)} leaves the network: {number} is layer "
                    f"{target} ({self.index} layers so far)",
                    option,
                )
            found.append(target)
        return tuple(found)

    @property
    def input_shape(self) -> Shape:
        """The shape of the layer before, which is the main input of all but [route]."""
        return self.shape(self.index - 1)

    def common(
        self, section: Section, output: Shape, inputs: tuple[int, ...] | None = None
    ) -> "Common":
        """Return the fields that every spec has; without `inputs` it reads the layer before."""
        read = (self.index - 1,) if inputs is None else inputs
        return {
            "index": self.index,
            "line": section.line,
            "inputs": read,
            "input_shapes": tuple(self.shape(i) for i in read),
            "output_shape": output,
        }


class Common(TypedDict):
    """The fields that every spec has."""

    index: int
    line: int
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape


def convolutional(section: Section, place: Place) -> specs.Convolutional:
    """[convolutional]: parser.c parse_convolutional."""
    _refuse(section, UNSUPPORTED_CONVOLUTIONS)
    size = section.integer("size", 1, low=1, high=MAX_LENGTH)
    stride = _stride(section)
    # DARKNET: pad is a flag ("half the kernel"), padding a count, and pad wins.
    padding = section.integer("padding", 0, low=0, high=MAX_LENGTH)
    if section.flag("pad"):
        padding = size // 2
    # DARKNET: a 1x1 kernel ignores dilation.
    dilation = section.integer("dilation", 1, low=1, high=MAX_LENGTH) if size > 1 else 1
    filters = section.integer("filters", 1, low=1, high=MAX_CHANNELS)
    groups = section.integer("groups", 1, low=1, high=MAX_CHANNELS)
    shape = place.input_shape
    output = rules.convolution_shape(
        shape,
        filters=filters,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    return specs.Convolutional(
        **place.common(section, output),
        filters=filters,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        # Cross-iteration batch norm (cbn) differs from batch norm only in training.
        batch_normalize=section.flag("batch_normalize") or section.flag("cbn"),
        activation=_activation(section, place.parity.default_activation),
    )


def connected(section: Section, place: Place) -> specs.Connected:
    """[connected]: parser.c parse_connected."""
    outputs = section.integer("output", 1, low=1, high=MAX_CHANNELS)
    return specs.Connected(
        **place.common(section, (outputs, 1, 1)),
        outputs=outputs,
        batch_normalize=section.flag("batch_normalize"),
        activation=_activation(section, place.parity.default_activation),
    )


def maxpool(section: Section, place: Place) -> specs.Maxpool:
    """[maxpool]: parser.c parse_maxpool."""
    _refuse(section, ("maxpool_depth", "antialiasing"))
    stride = _stride(section)
    # DARKNET: the window is as large as the stride unless size says otherwise, and the total
    # padding is size - 1 unless padding says otherwise.
    plain = section.integer("stride", 1, low=1, high=MAX_LENGTH)
    size = section.integer("size", plain, low=1, high=MAX_LENGTH)
    padding = section.integer("padding", size - 1, low=0, high=MAX_LENGTH)
    shape = place.input_shape
    output = rules.maxpool_shape(shape, size=size, stride=stride, padding=padding)
    common = place.common(section, output)
    return specs.Maxpool(**common, size=size, stride=stride, padding=padding)


def avgpool(section: Section, place: Place) -> specs.Avgpool:
    """[avgpool]: parser.c parse_avgpool."""
    output = rules.avgpool_shape(place.input_shape)
    return specs.Avgpool(**place.common(section, output))


def upsample(section: Section, place: Place) -> specs.Upsample:
    """[upsample]: parser.c parse_upsample."""
    stride = section.integer("stride", 2, low=1, high=MAX_LENGTH)
    output = rules.upsample_shape(place.input_shape, stride=stride)
    return specs.Upsample(
        **place.common(section, output),
        stride=stride,
        scale=section.number("scale", 1.0, low=-1e30, high=1e30),
    )


def route(section: Section, place: Place) -> specs.Route:
    """[route]: parser.c parse_route."""
    _refuse(section, ("stream",))
    inputs = place.resolve(section, "layers")
    groups = section.integer("groups", 1, low=1, high=MAX_CHANNELS)
    group_id = section.integer("group_id", 0, low=0, high=groups - 1)
    output = rules.route_shape([place.shape(i) for i in inputs], groups=groups)
    return specs.Route(**place.common(section, output, inputs), groups=groups, group_id=group_id)


def shortcut(section: Section, place: Place) -> specs.Shortcut:
    """[shortcut]: parser.c parse_shortcut; one or more layers added to the one before."""
    if section.text("weights_type", "none") != "none":
        raise section.error(
            f"{section.quote('weights_type')} is not supported, only none", "weights_type"
        )
    inputs = (place.index - 1, *place.resolve(section, "from"))
    output = place.shape(inputs[0])
    for other in inputs[1:]:
        rules.shortcut_shape(output, place.shape(other))
    alpha = beta = 1.0
    if place.parity.shortcut_factors:
        alpha = section.number("alpha", 1.0, low=-1e30, high=1e30)
        beta = section.number("beta", 1.0, low=-1e30, high=1e30)
    return specs.Shortcut(
        **place.common(section, output, inputs),
        activation=_activation(section, "linear"),
        alpha=alpha,
        beta=beta,
    )


def scale_channels(section: Section, place: Place) -> specs.ScaleChannels:
    """[scale_channels]: parser.c parse_scale_channels."""
    inputs = (place.index - 1, _single(section, place))
    scale_wh = section.flag("scale_wh")
    output = rules.scale_channels_shape(
        place.shape(inputs[0]), place.shape(inputs[1]), scale_wh=scale_wh
    )
    return specs.ScaleChannels(
        **place.common(section, output, inputs),
        scale_wh=scale_wh,
        activation=_activation(section, "linear"),
    )


def sam(section: Section, place: Place) -> specs.Sam:
    """[sam]: parser.c parse_sam."""
    inputs = (place.index - 1, _single(section, place))
    output = rules.sam_shape(place.shape(inputs[0]), place.shape(inputs[1]))
    return specs.Sam(
        **place.common(section, output, inputs), activation=_activation(section, "linear")
    )


def dropout(section: Section, place: Place) -> specs.Dropout:
    """[dropout]: parser.c parse_dropout."""
    output = place.input_shape
    return specs.Dropout(**place.common(section, output))


def softmax(section: Section, place: Place) -> specs.Softmax:
    """[softmax]: parser.c parse_softmax."""
    _refuse(section, ("tree", "spatial"))
    output = place.input_shape
    values = output[0] * output[1] * output[2]
    groups = section.integer("groups", 1, low=1, high=values)
    if values % groups:
        raise section.error(f"groups={groups} must divide its {values} inputs", "groups")
    return specs.Softmax(
        **place.common(section, output),
        groups=groups,
        temperature=section.number("temperature", 1.0, low=1e-30, high=1e30),
    )


def cost(section: Section, place: Place) -> specs.Cost:
    """[cost]: ignored."""
    output = place.input_shape
    return specs.Cost(**place.common(section, output))


def reorg(section: Section, place: Place) -> specs.Reorg:
    """[reorg]: parser.c parse_reorg_old."""
    _refuse(section, ("reverse", "flatten", "extra"))
    stride = section.integer("stride", 1, low=1, high=MAX_LENGTH)
    output = rules.reorg_shape(place.input_shape, stride=stride)
    return specs.Reorg(**place.common(section, output), stride=stride)


def _stride(section: Section) -> tuple[int, int]:
    """Read stride, and stride_y and stride_x, which win over it."""
    plain = section.integer("stride", 1, low=1, high=MAX_LENGTH)
    vertical = section.integer("stride_y", plain, low=1, high=MAX_LENGTH)
    return (vertical, section.integer("stride_x", plain, low=1, high=MAX_LENGTH))


def _activation(section: Section, default: str) -> str:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        # DARKNET: an unknown activation becomes relu (activations.c get_activation), silently.
        known = ", ".join(ACTIVATIONS)
        raise section.error(
            f"{section.quote('activation')} is unknown; known are {known}", "activation"
        )
    return name


def _single(section: Section, place: Place) -> int:
    found = place.resolve(section, "from")
    if len(found) != 1:
        raise section.error(f"{section.quote('from')} must name one layer", "from")
    return found[0]


def _refuse(section: Section, names: tuple[str, ...]) -> None:
    """Refuse options that would change the numbers and are not implemented; 0 turns one off."""
    for name in names:
        found = section.options.get(name)
        if found is not None and found.text not in ("0", "0.0"):
            raise section.error(f"{section.quote(name)} is not supported", name)


Reader = Callable[[Section, Place], specs.Layer]

#: The sections with a single main input; the heads are in `heads`.
READERS: dict[str, Reader] = {
    "convolutional": convolutional,
    "connected": connected,
    "maxpool": maxpool,
    "avgpool": avgpool,
    "upsample": upsample,
    "route": route,
    "shortcut": shortcut,
    "scale_channels": scale_channels,
    "sam": sam,
    "dropout": dropout,
    "softmax": softmax,
    "cost": cost,
    "reorg": reorg,
}
