"""The steps of a plan as tasks of ``kernels/persistent.cu``: their maps, and how they are cut."""

from dataclasses import dataclass, replace

from tinyyolo3.cuda.maps import DeviceMap, address
from tinyyolo3.engine.cuda.lower import Lowering, copied_maps
from tinyyolo3.engine.cuda.persistent_structs import Kind, Under
from tinyyolo3.engine.plan import Step
from tinyyolo3.errors import BackendError
from tinyyolo3.layers.convolution.cuda import ConvolutionStruct, convolution_struct
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu
from tinyyolo3.layers.convolution.cuda_mma import packed_terms
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, MmaTile, mma_cycles, mma_terms
from tinyyolo3.layers.convolution.cuda_tensor import LEAST_SLICES
from tinyyolo3.layers.convolution.cuda_tiles import PARTS, Product
from tinyyolo3.network import specs
from tinyyolo3.network.graph import Graph

#: The kernel's tile, and how many blocks of it a multiprocessor has.
TILE = MmaTile(64, 64, 128, 2, 2, 3, 3)


@dataclass(frozen=True)
class Task:
    """A step with its maps.

    Attributes:
        step: of the plan.
        kind: what it computes.
        layer: whose numbers it takes.
        x: what it reads.
        out: what it writes.
        residual: what it adds.
        parts: blocks that share the terms of a tile.
    """

    step: Step
    kind: Kind
    layer: specs.Layer
    x: DeviceMap
    out: DeviceMap
    residual: DeviceMap | None
    parts: int = 1

    @property
    def bands(self) -> int:
        """How many bands of pixels the output has."""
        return -(-self.out.pixels // TILE.pixels)

    @property
    def signals(self) -> int:
        """How many items of a band are finished one after the other: its tiles of filters."""
        return -(-self.out.channels // TILE.filters) if self.kind == Kind.CONVOLUTION else 1

    @property
    def items(self) -> int:
        """How many there are."""
        return self.bands * self.signals * self.parts

    @property
    def partial_floats(self) -> int:
        """How many numbers the parts of its tiles take."""
        return self.items * TILE.pixels * TILE.filters if self.parts > 1 else 0


def refusal(graph: Graph, step: Step, problem: str) -> BackendError:
    """Return the error that says why one launch cannot run a step, by its layer's name."""
    layer = graph.layers[step.layer if step.weights is None else step.weights]
    return BackendError(
        f"{graph.config.source}:{layer.line}: layer {layer.index} [{layer.kind}]: persistent=True "
        f"has {problem}: leave it out for this network"
    )


def kind_of(graph: Graph, step: Step) -> Kind:
    """Return what of the kernel computes a step.

    Raises:
        BackendError: nothing does.
    """
    kinds = {
        "convolution mma": Kind.CONVOLUTION,
        "convolution depthwise": Kind.DEPTHWISE,
        "maxpool": Kind.MAXPOOL,
        "upsample": Kind.UPSAMPLE,
        "copy": Kind.COPY,
    }
    if step.algorithm not in kinds:
        raise refusal(graph, step, f"no form of {step.algorithm!r}")
    return kinds[step.algorithm]


def choose_parts(product: Product, gpu: Gpu) -> int:
    """Return among how many blocks the kernel's tile shares its terms, by the model of its time."""
    slices = -(-product.terms // TILE.depth(FP16))
    blocks = gpu.multiprocessors * TILE.blocks_per_sm
    most = min(-(-blocks // TILE.tiles(product)), slices // LEAST_SLICES)
    options = [1, *(parts for parts in PARTS if parts <= most)]
    tiles = [replace(TILE, parts=parts) for parts in options]
    return min(tiles, key=lambda tile: mma_cycles(product, tile, FP16, gpu.multiprocessors)).parts


def make_task(low: Lowering, step: Step, gpu: Gpu) -> Task:
    """Return a step's task on a GPU.

    Raises:
        BackendError: the kernel has no form of it.
    """
    kind = kind_of(low.graph, step)
    layer = low.graph.layers[step.layer if step.weights is None else step.weights]
    x, out = low.map_of(step.inputs[0]), low.map_of(step.output)
    residual = None if step.residual is None else low.map_of(step.residual)
    parts = 1
    if kind == Kind.COPY:
        x, out = copied_maps(low, step)
        kind = Kind.COPY_TO_FLOATS if out.element == "float" else kind
    if kind == Kind.CONVOLUTION and isinstance(layer, specs.Convolutional):
        terms = mma_terms(x.channels, layer.size, FP16)
        parts = choose_parts(Product(out.pixels, out.channels, terms), gpu)
    return Task(step, kind, layer, x, out, residual, parts)


def shape_of(task: Task) -> ConvolutionStruct:
    """Return a task's shape; where it is no convolution, what it has of one."""
    layer, x, out = task.layer, task.x, task.out
    if isinstance(layer, specs.Convolutional) and task.step.weights is not None:
        shape = convolution_struct(
            x,
            out,
            size=layer.size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            activation=layer.activation,
            residual=task.residual,
        )
        if task.kind == Kind.CONVOLUTION:
            shape.weight_pitch = packed_terms(x.channels, layer.size, FP16)
        return shape
    shape = ConvolutionStruct(
        *(x.images, x.height, x.width, x.channels, x.pitch),
        *(out.height, out.width, out.channels, out.pitch),
    )
    shape.size = shape.dilation = shape.stride_y = shape.stride_x = 1
    match layer:
        case specs.Maxpool() if task.kind == Kind.MAXPOOL:
            shape.size, shape.padding = layer.size, layer.padding // 2
            shape.stride_y, shape.stride_x = layer.stride
        case specs.Upsample() if task.kind == Kind.UPSAMPLE:
            shape.stride_y = shape.stride_x = layer.stride
    return shape


def bands_under(task: Task) -> Under:
    """Return which bands of its input an item needs."""
    layer = task.layer
    if task.kind in (Kind.COPY, Kind.COPY_TO_FLOATS):
        return Under.SAME_PIXELS
    if task.kind == Kind.UPSAMPLE:
        return Under.SQUARE
    pointwise = isinstance(layer, specs.Convolutional) and layer.size == 1 and layer.padding == 0
    if pointwise and (task.x.height, task.x.width) == (task.out.height, task.out.width):
        return Under.SAME_PIXELS
    return Under.WINDOW


def overlap(one: DeviceMap, other: DeviceMap) -> bool:
    """Whether two maps of an arena, each buffer of which has its own place, share numbers."""
    a, b = address(one.data), address(other.data)
    size_a, size_b = one.data.itemsize, other.data.itemsize
    pitch = one.pitch * size_a
    if a + one.data.nbytes <= b or b + other.data.nbytes <= a:
        return False
    if pitch != other.pitch * size_b or one.pixels != other.pixels:
        return True
    # Parts of one map: beside each other in every pixel.
    if a > b:
        a, b, size_a, one = b, a, size_b, other
    return bool(b - a < one.channels * size_a)
