"""A mini-batch of blocked maps: where it lies, and how large it is.

The layout is the engine's (`tinyyolo3.engine.cpu.layout`), [image][block of `LANES`
channels][pixel][lane], float32, or with images within blocks: the distances tell. Lanes beyond the
last channel hold finite numbers without meaning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.parallel import compiled


@dataclass(frozen=True)
class BatchMap:
    """One map of each image of a mini-batch.

    Attributes:
        address: of the first image's first block, a multiple of `BLOCK`.
        images: how many.
        channels: of each, without the lanes that fill the last block up.
        height: in rows.
        width: in pixels.
        block_stride: bytes from a block to the next; by default without a gap.
        image_stride: bytes from an image to the next; by default without a gap.
    """

    address: int
    images: int
    channels: int
    height: int
    width: int
    block_stride: int = 0
    image_stride: int = 0

    def __post_init__(self) -> None:
        """Fill the distances in."""
        if self.block_stride == 0:
            object.__setattr__(self, "block_stride", self.pixels * BLOCK)
        if self.image_stride == 0:
            object.__setattr__(self, "image_stride", self.blocks * self.block_stride)

    @property
    def blocks(self) -> int:
        """Blocks of channels of an image."""
        return -(-self.channels // LANES)

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.height * self.width

    @property
    def bytes(self) -> int:
        """From the first image's first byte to behind the last one's last."""
        last_image = (self.images - 1) * self.image_stride
        return last_image + (self.blocks - 1) * self.block_stride + self.pixels * BLOCK

    def fields(self, prefix: str) -> dict[str, int]:
        """Return a record's fields ``prefix``, ``prefix_image`` and ``prefix_stride``."""
        return {
            prefix: self.address,
            f"{prefix}_image": self.image_stride,
            f"{prefix}_stride": self.block_stride,
        }

    def slice(self, first: int, channels: int) -> "BatchMap":
        """Return some channels of all images, from the start of a block on.

        Args:
            first: the first channel, a multiple of `LANES`.
            channels: how many.
        """
        assert first % LANES == 0
        address = self.address + first // LANES * self.block_stride
        return BatchMap(
            address, self.images, channels, self.height, self.width, self.block_stride,
            self.image_stride,
        )  # fmt: skip


def map_fields(*names: str) -> tuple[str, ...]:
    """Return the names of the fields that `BatchMap.fields` fills, for `operation`."""
    return tuple(f"{name}{part}" for name in names for part in ("", "_image", "_stride"))


def parts_of(jobs: int, pixels: int, planes: int, least: int = 256) -> int:
    """Return into how many parts to cut each plane of a map that is only passed over.

    Args:
        jobs: how many are wanted in all.
        pixels: of a plane.
        planes: images times blocks.
        least: pixels below which a part is not worth handing out.
    """
    return max(1, min(-(-jobs // planes), pixels // least))


#: The fields of a pass over all pixels, which `part_fields` fills.
PART_FIELDS = ("images", "blocks", "pixels", "parts")


def part_fields(batch: BatchMap, jobs: int) -> tuple[dict[str, int], int]:
    """Return the fields of a pass over a map's pixels, and the number of its jobs."""
    planes = batch.images * batch.blocks
    parts = parts_of(jobs, batch.pixels, planes)
    fields = {
        "images": batch.images, "blocks": batch.blocks, "pixels": batch.pixels, "parts": parts,
    }  # fmt: skip
    return fields, planes * parts


@compiled
def plane_part(step: Any, index: int) -> tuple[int, int, int, int]:
    """Return a job's image and block, its first pixel, and the number of its pixels."""
    plane = index // step.parts
    part = index - plane * step.parts
    image = plane // step.blocks
    start = part * step.pixels // step.parts
    count = (part + 1) * step.pixels // step.parts - start
    return image, plane - image * step.blocks, start, count


def each_image(*batches: BatchMap) -> Iterator[tuple[BatchMap, ...]]:
    """Yield what operations on the blocks of a single map can take, together all of the maps.

    Where no map has a gap between its images that is all of them as one image's blocks: the maps
    themselves. Otherwise it is each image on its own.
    """
    if all(batch.image_stride == batch.blocks * batch.block_stride for batch in batches):
        yield batches
        return
    for image in range(batches[0].images):
        yield tuple(
            replace(batch, address=batch.address + image * batch.image_stride, images=1)
            for batch in batches
        )
