"""What a detection run gives back for one picture: arrays, and what people do with them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyyolo3.arrays import ByteArray
from tinyyolo3.image.draw import draw_detections


@dataclass(frozen=True)
class Detection:
    """One box: its class, its scores, and its corners in pixels of the picture."""

    class_id: int
    name: str
    confidence: float
    objectness: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in one picture, the most confident first.

    Attributes:
        boxes_xyxy_px: (N, 4) float32: left, top, right, bottom in pixels of the picture.
        confidence: (N,) float32, objectness × class probability.
        class_id: (N,) int64.
        objectness: (N,) float32.
        names: the class names, or None when the detector was given none.
        source: what the picture was read from, as it is named in messages.
        image: (H, W, 3) uint8, the picture's pixels.
    """

    boxes_xyxy_px: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    objectness: NDArray[np.float32]
    names: tuple[str, ...] | None
    source: str
    image: ByteArray = field(repr=False)

    @property
    def width(self) -> int:
        """The picture's width in pixels."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """The picture's height in pixels."""
        return int(self.image.shape[0])

    def __len__(self) -> int:
        return len(self.confidence)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Detection:
        left, top, right, bottom = self.boxes_xyxy_px[index].tolist()
        class_id = int(self.class_id[index])
        return Detection(
            class_id=class_id,
            name=self.class_name(class_id),
            confidence=float(self.confidence[index]),
            objectness=float(self.objectness[index]),
            xyxy=(left, top, right, bottom),
        )

    def class_name(self, class_id: int) -> str:
        """Return a class's name, or ``class 7`` when the detector was given no names."""
        return self.names[class_id] if self.names else f"class {class_id}"

    def draw(self) -> Image.Image:
        """Return a copy of the picture with the boxes and their labels drawn on it."""
        labels = [f"{d.name} {d.confidence:.0%}" for d in self]
        return draw_detections(self.image, self.boxes_xyxy_px, labels, self.class_id.tolist())

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python data, as the command line's JSON has it."""
        return {
            "image": self.source,
            "width": self.width,
            "height": self.height,
            "detections": [
                {
                    "class_id": d.class_id,
                    "class_name": d.name,
                    "confidence": round(d.confidence, 6),
                    "objectness": round(d.objectness, 6),
                    "box_xyxy": [round(value, 3) for value in d.xyxy],
                }
                for d in self
            ],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
