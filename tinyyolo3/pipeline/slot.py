"""One batch on its way through a device: pixels up, kernels, boxes down."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.arrays import ByteArray
from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode_cuda import RowBuffers, decode_cuda, decoded_rows, device_heads
from tinyyolo3.boxes.nms_cuda import (
    FIRST_CAPACITY,
    BoxBuffers,
    detect_boxes_cuda,
    larger_capacity,
    read_results,
)
from tinyyolo3.cuda.maps import download_map
from tinyyolo3.cuda.target import DeviceArray, Target
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.engine.cuda.kept import Kept
from tinyyolo3.engine.cuda.overflow import watched_logits
from tinyyolo3.engine.cuda.recorded import Recorded
from tinyyolo3.image.geometry import ResizeMode, resize_geometry
from tinyyolo3.image.resize_cuda import network_input_cuda
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16
from tinyyolo3.network.graph import Graph
from tinyyolo3.selection import Selected, Selection, head_geometries, suppress_boxes
from tinyyolo3.stages import stages

#: Input sizes and batches whose memory a slot keeps.
KEPT_PATHS = 4


class BatchPath:
    """The way of a batch of so many pictures through one network, with memory of its own."""

    def __init__(self, engine: CudaEngine, target: Target, graph: Graph, images: int) -> None:
        """Allocate everything.

        Args:
            engine: the network.
            target: where to run, a fork of the engine's.
            graph: the layers.
            images: pictures of a batch.
        """
        self._engine, self._target, self._graph, self._images = engine, target, graph, images
        _, self._height, self._width = graph.input_shape
        self._program = engine.program(target, graph, images)
        geometries = head_geometries(graph)
        size = (self._width, self._height)
        plan, half = self._program.plan, engine.precision is FP16
        watched = watched_logits(graph, plan) if half else None
        self._heads = device_heads(target, self._program.outputs, geometries, size, watched)
        self._call = CallBuffers.allocate(target, images, geometries[0].classes)
        self._set_capacity(FIRST_CAPACITY)
        self._pixels: DeviceArray = None
        self._run: Recorded

    def _set_capacity(self, rows: int) -> None:
        """Make room for so many rows (box, class) of each picture."""
        self._boxes = BoxBuffers.allocate(self._target, self._images, rows)
        self._results = self._target.pinned(self._boxes.results.size, np.uint8)
        self._pixels = None  # what is recorded has the old buffers

    def submit(
        self,
        pictures: Sequence[ByteArray],
        pixels: DeviceArray,
        resize: ResizeMode,
        selection: Selection,
    ) -> None:
        """Begin to find the boxes of pictures whose bytes are on their way into `pixels`."""
        frames = [
            resize_geometry(p.shape[1], p.shape[0], self._width, self._height, resize)
            for p in pictures
        ]
        self._call.fill(
            frames,
            threshold=selection.threshold,
            nms=selection.nms,
            nms_kind=selection.nms_kind,
            beta_nms=selection.beta_nms,
            multi_label=selection.multi_label,
            agnostic=selection.agnostic,
            class_ids=selection.class_ids,
        )
        if self._pixels is not pixels:
            self._pixels = pixels
            self._run = Recorded(self._target, self._launch)
        self._run()

    def _launch(self) -> None:
        self._target.copy_in(self._call.device, self._call.pinned)
        self._program.launch_from_pictures(self._pixels, self._call.frames)
        self._launch_boxes()

    def _launch_boxes(self) -> None:
        detect_boxes_cuda(self._target, self._heads, self._call, self._boxes)
        self._target.copy_out(self._results, self._boxes.results)

    def collect(self, selection: Selection) -> list[Selected]:
        """Wait for the boxes of the pictures submitted last.

        Where a picture has more rows than there is room for, room is made and the rows are decoded
        once more; where it has too many for the device, the CPU suppresses them.

        Raises:
            BackendError: numbers overflow in fp16.
        """
        self._target.synchronize()
        while True:
            found = read_results(self._results, self._images, self._boxes.capacity)
            if overflowed := [image for image, f in enumerate(found) if f.overflowed]:
                self._check_overflow(overflowed)
            most = max(boxes.decoded for boxes in found)
            if most <= self._boxes.capacity:
                return [
                    Selected(f.boxes_cxcywh_unit, f.objectness, f.confidence, f.class_id)
                    for f in found
                ]
            larger = larger_capacity(most, self._boxes.capacity)
            if larger is None:
                return self._suppress_on_cpu(most, selection)
            self._set_capacity(larger)
            self._launch_boxes()
            self._target.synchronize()

    def _check_overflow(self, images: Sequence[int]) -> None:
        """Look for the layer that overflows in some of the pictures.

        Raises:
            BackendError: there is one.
        """
        network_input_cuda(self._target, self._pixels, self._call.frames, self._program.input)
        x = download_map(self._target, self._program.input)[list(images)]
        self._engine.check_overflow(self._graph, np.ascontiguousarray(x, np.float32))

    def _suppress_on_cpu(self, rows: int, selection: Selection) -> list[Selected]:
        buffers = RowBuffers.allocate(self._target, self._images, rows)
        decode_cuda(self._target, self._heads, self._call, buffers)
        decoded = decoded_rows(self._target, buffers)
        return [suppress_boxes(image, selection, stages()) for image in decoded]


class Slot:
    """A stream of the device and the memory of one batch; one batch at a time runs in it."""

    def __init__(self, engine: CudaEngine) -> None:
        """Fork the engine's target; memory is allocated when its size is known."""
        self._engine = engine
        self._target = engine.target.fork()
        self._paths: Kept[BatchPath] = Kept(KEPT_PATHS)
        self._pinned: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._pixels: DeviceArray = None

    def submit(
        self,
        graph: Graph,
        pictures: Sequence[ByteArray],
        resize: ResizeMode,
        selection: Selection,
    ) -> None:
        """Begin to find the boxes of a batch of pictures (H, W, 3)."""
        self._target.synchronize()  # an interrupted call may have left its work behind
        images = len(pictures)
        path = self._paths.get(
            (graph.input_shape, images),
            lambda: BatchPath(self._engine, self._target, graph, images),
        )
        self._upload(pictures)
        path.submit(pictures, self._pixels, resize, selection)
        self._submitted, self._selection = path, selection

    def collect(self) -> list[Selected]:
        """Return the boxes of the batch that was submitted, once they are found."""
        return self._submitted.collect(self._selection)

    def wait(self) -> None:
        """Wait for the batch that was submitted; nobody wants its boxes."""
        self._target.synchronize()

    def _upload(self, pictures: Sequence[ByteArray]) -> None:
        """Begin to copy the pictures to the device, one behind another."""
        total = sum(picture.size for picture in pictures)
        if total > self._pinned.size:
            size = max(total, 2 * self._pinned.size)  # seldom again
            self._pinned = self._target.pinned(size, np.uint8)
            self._pixels = self._target.empty(size, np.uint8)
        end = 0
        for picture in pictures:
            start, end = end, end + picture.size
            # While the device fetches this one, the next is copied to where it can be fetched.
            self._pinned[start:end].reshape(picture.shape)[...] = picture
            self._target.copy_in(self._pixels[start:end], self._pinned[start:end])
