"""What `tinyyolo3 info` tells about a network: a row per layer, and the totals."""

from dataclasses import dataclass

from tinyyolo3.layers.shapes import Shape
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.parameters import RUNNING_STATISTICS, layer_slots


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table.

    Attributes:
        filters: output channels, where the layer sets them itself; else None.
        size_stride: kernel and stride as the field writes them, ``3x3/2``; or what it reads.
        trainable: learned parameters.
        statistics: running means and variances.
        flop: floating-point operations for one image: 2 per multiply-add of convolutional and
            connected layers; the rest is not counted, as in Darknet's own BFLOPs.
    """

    index: int
    line: int
    kind: str
    filters: int | None
    size_stride: str
    input_shape: Shape
    output_shape: Shape
    trainable: int
    statistics: int
    flop: int

    @property
    def parameters(self) -> int:
        """All numbers of the layer in the ``.weights`` file."""
        return self.trainable + self.statistics


@dataclass(frozen=True)
class Summary:
    """The rows, and the totals over them; `boxes` is what all heads predict for one image."""

    rows: tuple[LayerSummary, ...]
    parameters: int
    trainable: int
    statistics: int
    flop: int
    boxes: int


def summarize(graph: Graph) -> Summary:
    """Return the layer table and totals of `graph` at its input size, for one image."""
    rows = tuple(_summarize_layer(layer) for layer in graph.layers)
    boxes = sum(
        len(head.anchors) * head.output_shape[1] * head.output_shape[2] for head in graph.heads
    )
    trainable = sum(row.trainable for row in rows)
    statistics = sum(row.statistics for row in rows)
    flop = sum(row.flop for row in rows)
    return Summary(rows, trainable + statistics, trainable, statistics, flop, boxes)


def _summarize_layer(layer: specs.Layer) -> LayerSummary:
    slots = layer_slots(layer)
    statistics = sum(slot.count for slot in slots if slot.name in RUNNING_STATISTICS)
    weights = sum(slot.count for slot in slots if slot.name == "weights")
    _, height, width = layer.output_shape
    filters = layer.output_shape[0] if slots else None
    return LayerSummary(
        index=layer.index,
        line=layer.line,
        kind=layer.kind,
        filters=filters,
        size_stride=_describe(layer),
        input_shape=layer.input_shapes[0],
        output_shape=layer.output_shape,
        trainable=sum(slot.count for slot in slots) - statistics,
        statistics=statistics,
        flop=2 * weights * height * width,
    )


def _describe(layer: specs.Layer) -> str:
    match layer:
        case specs.Convolutional():
            text = f"{layer.size}x{layer.size}/{_stride(layer.stride)}"
            text += f" d{layer.dilation}" if layer.dilation > 1 else ""
            return text + (f" g{layer.groups}" if layer.groups > 1 else "")
        case specs.Maxpool():
            return f"{layer.size}x{layer.size}/{_stride(layer.stride)}"
        case specs.Upsample():
            return f"x{layer.stride}"
        case specs.Reorg():
            return f"/{layer.stride}"
        case specs.Route():
            text = ",".join(map(str, layer.inputs))
            return text + (f" {layer.group_id}/{layer.groups}" if layer.groups > 1 else "")
        case specs.Shortcut() | specs.ScaleChannels() | specs.Sam():
            return ",".join(map(str, layer.inputs[1:]))
        case specs.Head():
            return f"{len(layer.anchors)} anchors"
    return ""


def _stride(stride: tuple[int, int]) -> str:
    return str(stride[0]) if stride[0] == stride[1] else f"{stride[0]},{stride[1]}"
