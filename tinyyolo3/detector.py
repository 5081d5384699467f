"""The detector: a picture in, boxes out.

`Detector.detect` checks what it is asked for, reads the pictures and says what was found in them.
In between lies a pipeline (`tinyyolo3.pipeline`): pictures → network input → logits of the heads →
boxes above the threshold → boxes in the picture → those that survive suppression.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypedDict, Unpack, get_args, overload

import numpy as np

from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.boxes.decode import candidates_reference
from tinyyolo3.boxes.nms import NmsKind
from tinyyolo3.detections import Detections
from tinyyolo3.engine.network import Network
from tinyyolo3.engine.planned import StudyEngine
from tinyyolo3.errors import InputError
from tinyyolo3.image.ahead import read_batches
from tinyyolo3.image.files import ImageSource, describe_source, read_image
from tinyyolo3.image.geometry import ResizeMode
from tinyyolo3.network.specs import Yolo
from tinyyolo3.parallel import thread_limit
from tinyyolo3.pipeline.cpu import CpuPipeline
from tinyyolo3.pipeline.protocol import Pipeline
from tinyyolo3.selection import (
    Selected,
    Selection,
    cfg_agnostic_nms,
    cfg_nms_kind,
    corners_px,
    head_geometries,
    require_heads,
)

#: A list of pictures, as opposed to one.
Sources = list[ImageSource] | tuple[ImageSource, ...]


@dataclass(frozen=True, eq=False)
class NetworkCandidates:
    """Every box that the heads predict for one image, in Darknet's order.

    The order is: head, then cell (row by row), then anchor.

    Attributes:
        boxes_cxcywh_px: (N, 4) centre and size in pixels of the network's input.
        objectness: (N,).
        probability: (N, classes), objectness × class probability.
    """

    boxes_cxcywh_px: FloatArray
    objectness: FloatArray
    probability: FloatArray


class DetectOptions(TypedDict, total=False):
    """The keyword arguments of `Detector.detect`, whose docstring explains them."""

    threshold: float
    nms: float | None
    resize: ResizeMode
    classes: Sequence[int | str] | None
    multi_label: bool
    agnostic: bool | None
    nms_kind: NmsKind | None
    clip: bool
    size: tuple[int, int] | None
    batch: int
    exif_orientation: bool


@dataclass(frozen=True)
class Detector:
    """A network with detection heads, and the names of its classes.

    Attributes:
        network: the network, whose layers and intermediate outputs can be looked into.
        names: one name per class, or None.
    """

    network: Network
    names: tuple[str, ...] | None = None

    @overload
    def detect(self, images: Sources, **options: Unpack[DetectOptions]) -> list[Detections]: ...
    @overload
    def detect(self, images: ImageSource, **options: Unpack[DetectOptions]) -> Detections: ...

    def detect(
        self,
        images: ImageSource | Sources,
        *,
        threshold: float = 0.25,
        nms: float | None = 0.45,
        resize: ResizeMode = "letterbox",
        classes: Sequence[int | str] | None = None,
        multi_label: bool = True,
        agnostic: bool | None = None,
        nms_kind: NmsKind | None = None,
        clip: bool = False,
        size: tuple[int, int] | None = None,
        batch: int = 8,
        exif_orientation: bool = True,
    ) -> Detections | list[Detections]:
        """Find objects in one picture, or in each of a list.

        Args:
            images: a path, encoded bytes, a Pillow image, a uint8 RGB array (H, W, 3), or a list
                of any of these.
            threshold: a box is reported for every class with objectness × probability above it,
                if its objectness is above it too; both strictly.
            nms: suppress a box that overlaps a more confident one by more than this IoU; None
                reports every box above the threshold.
            resize: "letterbox" keeps the picture's shape and fills with grey, "stretch" does not.
            classes: report only these, by name or number.
            multi_label: report every class of a box above the threshold, as Darknet does, rather
                than its best alone.
            agnostic: let boxes of different classes suppress each other; None follows the cfg's
                ``agnostic_nms``.
            nms_kind: "greedy" or "diou"; None follows the cfg's ``nms_kind``.
            clip: cut boxes at the picture's borders; Darknet's own may reach beyond.
            size: width and height of the network's input instead of the cfg's.
            batch: how many pictures of a list go through the network at once; the next batch is
                read meanwhile.
            exif_orientation: turn photographs upright as their EXIF tag says.

        Returns:
            `Detections` for one picture, a list of them for a list.

        Raises:
            ImageError: a picture cannot be read.
            InputError: an argument is out of range.
            ConfigError: the network does not allow `size`.
        """
        network = self.network if size is None else self.network.resized(*check_size(size))
        last = require_heads(network.graph)[-1]
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch must be a positive integer, not {batch!r}")
        if resize not in get_args(ResizeMode):
            raise InputError(f"resize must be 'letterbox' or 'stretch', not {resize!r}")
        selection = Selection(
            threshold=threshold,
            nms=nms,
            nms_kind=nms_kind or cfg_nms_kind(last),
            beta_nms=last.beta_nms if isinstance(last, Yolo) else 0.6,
            multi_label=multi_label,
            agnostic=cfg_agnostic_nms(last) if agnostic is None else agnostic,
            class_ids=None if classes is None else self._class_ids(classes),
            clip=clip,
        )
        several = isinstance(images, list | tuple)
        sources = list(images) if isinstance(images, list | tuple) else [images]
        read = partial(read_image, exif_orientation=exif_orientation)
        with (
            thread_limit(network.threads),
            closing(read_batches(sources, read, batch)) as batches,
            closing(self._pipeline.run(network, batches, resize, selection)) as found,
        ):
            results = [
                self._detections(picture, boxes, source, clip)
                for source, (picture, boxes) in zip(sources, found, strict=True)
            ]
        return results if several else results[0]

    def _detections(
        self, picture: ByteArray, found: Selected, source: ImageSource, clip: bool
    ) -> Detections:
        return Detections(
            corners_px(found.boxes_cxcywh_unit, picture, clip),
            found.confidence,
            found.class_id,
            found.objectness,
            self.names,
            describe_source(source),
            picture,
        )

    def forward(self, x: FloatArray) -> list[FloatArray]:
        """Return the raw head tensors for a batch (N, 3, H, W) in [0, 1]; see `Network.forward`."""
        return self.network.forward(x)

    def candidates(self, x: FloatArray) -> NetworkCandidates | list[NetworkCandidates]:
        """Return every decoded box of a batch, whatever its score, in Darknet's order.

        Args:
            x: (N, 3, H, W) floating array, pixels in [0, 1].

        Returns:
            `NetworkCandidates` for N = 1, a list of N of them otherwise.

        Raises:
            InputError: `x` is no such array, or the network is a classifier.
        """
        require_heads(self.network.graph)
        logits = self.network.forward(x)
        height, width = x.shape[2:]
        geometries = head_geometries(self.network.resized(width, height).graph)
        sides_px = np.array([width, height, width, height], np.float32)
        results = []
        for index in range(len(x)):
            found = candidates_reference([head[index] for head in logits], geometries)
            boxes_cxcywh_px = found.boxes_cxcywh_unit * sides_px
            results.append(NetworkCandidates(boxes_cxcywh_px, found.objectness, found.probability))
        return results[0] if len(results) == 1 else results

    @cached_property
    def _pipeline(self) -> Pipeline:
        engine = self.network.engine
        if not isinstance(engine, StudyEngine):
            return CpuPipeline()
        # Imported where a GPU is used: those who run on the CPU need not wait for it.
        from tinyyolo3.engine.cuda.engine import CudaEngine
        from tinyyolo3.pipeline.device import DevicePipeline

        return DevicePipeline(engine) if isinstance(engine, CudaEngine) else CpuPipeline()

    @cached_property
    def _ids_by_name(self) -> dict[str, int]:
        names = self.names or ()
        return {name: index for index, name in reversed(list(enumerate(names)))}

    def _class_ids(self, classes: Sequence[int | str]) -> tuple[int, ...]:
        """Turn names and numbers into numbers."""
        count = require_heads(self.network.graph)[0].classes
        single = isinstance(classes, str) or not isinstance(classes, Iterable)
        wanted: list[Any] = [classes] if single else list(classes)
        ids = []
        for entry in wanted:
            class_id = self._ids_by_name.get(entry) if isinstance(entry, str) else entry
            if class_id is None:
                known = ", ".join((self.names or ())[:10]) or "none, for no names were given"
                raise InputError(f"class {entry!r} is unknown; the names are: {known}")
            number = isinstance(class_id, int | np.integer) and not isinstance(class_id, bool)
            if not number or int(class_id) not in range(count):
                raise InputError(f"class {entry!r} must be an integer from 0 to {count - 1}")
            ids.append(int(class_id))
        return tuple(ids)


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return `size` if it is a pair; the network judges the numbers.

    Raises:
        InputError: it is not.
    """
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise InputError(f"size must be (width, height), not {size!r}")
    return (size[0], size[1])
