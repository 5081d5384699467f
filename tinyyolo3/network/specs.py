"""What each layer is, as plain frozen data: options read, inputs resolved, shapes known."""

from dataclasses import dataclass
from typing import ClassVar

from tinyyolo3.layers.shapes import Shape, Stride


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What all layers have.

    Attributes:
        index: position in the network, from 0.
        line: the section's line in the cfg.
        inputs: the layers whose outputs it reads, main input first; -1 is the network's input.
        input_shapes: their shapes, ``(channels, height, width)``.
        output_shape: the shape of what it writes.
    """

    kind: ClassVar[str]
    index: int
    line: int
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape


@dataclass(frozen=True, kw_only=True)
class Convolutional(Layer):
    """``activation(batchnorm(weights * x) + biases)``; `padding` is on each side."""

    kind = "convolutional"
    filters: int
    size: int
    stride: Stride
    padding: int
    dilation: int
    groups: int
    batch_normalize: bool
    activation: str


@dataclass(frozen=True, kw_only=True)
class Connected(Layer):
    """``activation(batchnorm(weights · x) + biases)`` over all of the input at once."""

    kind = "connected"
    outputs: int
    batch_normalize: bool
    activation: str


@dataclass(frozen=True, kw_only=True)
class Maxpool(Layer):
    """The maximum of each window; `padding` is the total over both sides."""

    kind = "maxpool"
    size: int
    stride: Stride
    padding: int


@dataclass(frozen=True, kw_only=True)
class Avgpool(Layer):
    """The mean of each channel."""

    kind = "avgpool"


@dataclass(frozen=True, kw_only=True)
class Upsample(Layer):
    """Each pixel repeated `stride` times in both directions, times `scale`."""

    kind = "upsample"
    stride: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Route(Layer):
    """The inputs' channels joined; of each, part `group_id` of `groups`."""

    kind = "route"
    groups: int
    group_id: int


@dataclass(frozen=True, kw_only=True)
class Shortcut(Layer):
    """``activation(alpha * x + beta * Σ others)``."""

    kind = "shortcut"
    activation: str
    alpha: float
    beta: float


@dataclass(frozen=True, kw_only=True)
class ScaleChannels(Layer):
    """The second input, each channel (or with `scale_wh` each pixel) times the first."""

    kind = "scale_channels"
    scale_wh: bool
    activation: str


@dataclass(frozen=True, kw_only=True)
class Sam(Layer):
    """The product of both inputs, element by element."""

    kind = "sam"
    activation: str


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """The identity, outside training."""

    kind = "dropout"


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over each of `groups` equal parts of the input."""

    kind = "softmax"
    groups: int
    temperature: float


@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """A training loss: nothing, outside training."""

    kind = "cost"


@dataclass(frozen=True, kw_only=True)
class Reorg(Layer):
    """YOLOv2's pass-through: pixels into channels."""

    kind = "reorg"
    stride: int


@dataclass(frozen=True, kw_only=True)
class Head(Layer):
    """A detection head: boxes of `anchors`, each with objectness and `classes` scores.

    Attributes:
        classes: the number of classes.
        anchors: width and height of each box shape this head predicts. In pixels of the network's
            input for [yolo], in cells of the head's grid for [region].
    """

    classes: int
    anchors: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Yolo(Head):
    """A YOLOv3 (and v4, v7) head: independent logistic classes.

    Attributes:
        mask: which of the section's anchors these are.
        scale_x_y: how far the centre may leave its cell (v4: 1.05 to 2).
        new_coords: the v4-csp and v7 box formula, whose logits the layer before has activated.
        nms_kind: the suppression the cfg asks for: default, greedynms, diounms or cornersnms.
        beta_nms: the exponent of its distance term.
        agnostic_nms: whether boxes of different classes suppress each other.
    """

    kind = "yolo"
    mask: tuple[int, ...]
    scale_x_y: float
    new_coords: bool
    nms_kind: str
    beta_nms: float
    agnostic_nms: bool


@dataclass(frozen=True, kw_only=True)
class Region(Head):
    """A YOLOv2 head; `softmax`: the classes exclude each other."""

    kind = "region"
    softmax: bool
