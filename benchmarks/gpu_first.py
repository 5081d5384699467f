"""From a picture's bytes to a network's first map: in one kernel, and in two."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpu_timing import spans_ms, spread
from peers.base import sample_picture
from tinyyolo3.arrays import ByteArray
from tinyyolo3.cuda.maps import DeviceMap, download_map, empty_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.detector import Detector
from tinyyolo3.image.geometry import ResizeMode, resize_geometry
from tinyyolo3.image.resize_cuda import FRAME, fill_frames, network_input_cuda
from tinyyolo3.layers.convolution.cuda import new_workspace
from tinyyolo3.layers.convolution.cuda_algorithms import Problem, gpu_of
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda, pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import PRECISIONS, mma_workspace_floats
from tinyyolo3.layers.convolution.cuda_tensor import tensor_product
from tinyyolo3.layers.convolution.cuda_tensor_choice import choose_tensor_tile
from tinyyolo3.selftest.case import Case, Prepared, read_map, untouched_map
from tinyyolo3.selftest.tensor_cores import from_pictures
from tinyyolo3.testing.first_layers import FirstCase


def first_cases(side: int) -> Iterator[tuple[str, Case]]:
    """Yield both ways to yolov3's first map at an input of `side`, in each precision."""
    for precision in PRECISIONS.values():
        sizes = [(3 * side // 2, 2 * side)]
        first = FirstCase(sizes, (side, side), "letterbox", 32, 1, 1, "leaky", precision, 1)
        yield f"picture to first map, {precision.name}", from_pictures(first)
        yield f"picture to first map in two, {precision.name}", in_two(first)


def in_two(first: FirstCase) -> Case:
    """Return the case of resizing a picture, and then convolving it as any map."""
    one = from_pictures(first)
    width, height = first.network
    shape = len(first.sizes), first.filters, height, width

    def prepare(target: Target) -> Prepared:
        out = untouched_map(target, shape, 0, first.precision.dtype)
        launches = _resize(target, first), _convolve(target, first, out)
        x = empty_map(target, len(first.sizes), height, width, 3, 8, first.precision.dtype)

        def launch() -> None:
            for each in launches:
                each(x)

        return Prepared(launch, lambda: [read_map(target, out)], one.prepare(target).bytes)

    return replace(one, files=("resize.cu", "convolution_mma.cu"), prepare=prepare)


def pictures_ms(
    target: Target, detector: Detector, batch: int, runs: int, warm_up: int
) -> dict[str, Any]:
    """Time a network from pictures' bytes to logits, in a graph, both ways.

    Returns:
        The times with the first convolution in one kernel and ``in two``, and the largest
        difference of their logits, by the largest logit.
    """
    engine: Any = detector.network.engine
    program = engine.program(target, detector.network.graph, batch)
    pictures = [sample_picture()] * batch
    size = program.input.width, program.input.height
    pixels, table = _upload(target, pictures, size, "stretch")

    def in_one() -> None:
        program.launch_from_pictures(pixels, table)

    def in_two() -> None:
        network_input_cuda(target, pixels, table, program.input)
        program.launch()

    found, logits = {}, []
    for name, record in (("in one", in_one), ("in two", in_two)):
        launch = target.capture(record)
        found[name] = spread(spans_ms(target, launch, runs, warm_up))
        logits.append([download_map(target, y) for y in program.outputs])
    pairs = list(zip(*logits, strict=True))
    apart = max(float(np.abs(one - two).max() / np.abs(two).max()) for one, two in pairs)
    return {**found, "apart": float(f"{apart:.2e}")}


def _upload(
    target: Target, pictures: Sequence[ByteArray], size: tuple[int, int], mode: ResizeMode
) -> tuple[DeviceArray, DeviceArray]:
    """Return pictures' bytes and frames in a target's memory."""
    frames = np.empty(len(pictures), FRAME)
    fill_frames(frames, [resize_geometry(p.shape[1], p.shape[0], *size, mode) for p in pictures])
    pixels = np.concatenate([picture.reshape(-1) for picture in pictures])
    return target.upload(pixels), target.upload(frames.view(np.uint8))


def _resize(target: Target, first: FirstCase) -> Callable[[DeviceMap], None]:
    pixels, table = _upload(target, first.pictures, first.network, first.mode)
    return lambda x: network_input_cuda(target, pixels, table, x)


def _convolve(target: Target, first: FirstCase, out: DeviceMap) -> Callable[[DeviceMap], None]:
    precision, stride = first.precision, (first.stride, first.stride)
    problem = Problem(out.images, out.height, out.width, 3, first.filters, 3, stride)
    tile = choose_tensor_tile(problem, precision, gpu_of(target))
    floats = mma_workspace_floats(tensor_product(problem, precision), tile)
    packed = target.upload(pack_mma_weights(first.weights, precision))
    biases, workspace = target.upload(first.biases), new_workspace(target, floats)
    return lambda x: conv_forward_mma_cuda(
        *(target, x, packed, biases, out),
        precision=precision,
        size=3,
        stride=stride,
        padding=first.padding,
        activation=first.activation,
        tile=tile,
        workspace=workspace,
    )
