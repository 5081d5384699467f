"""One entry of a COCO file at a time: from decoded JSON to numbers, or what is wrong with it."""

import math
import reprlib
from dataclasses import dataclass
from typing import Any

from tinyyolo3.data.label_files import MAX_PX
from tinyyolo3.data.samples import BadEntryError

_INT64 = 2**63
_quote = reprlib.repr  # short, however long or deep what is found may be


@dataclass(frozen=True)
class ImageEntry:
    """One of ``images``; width and height are 0 where the file does not say them."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class ObjectEntry:
    """One of ``annotations``, as far as boxes are concerned; `box_xywh_px` as the file has it."""

    id: int
    image_id: int
    category_id: int
    box_xywh_px: tuple[float, float, float, float]
    area_px2: float
    crowd: bool
    difficult: bool


@dataclass(frozen=True)
class CategoryEntry:
    """One of ``categories``."""

    id: int
    name: str


def parse_image(entry: Any) -> ImageEntry:
    """Read an entry of ``images``: ``id``, ``file_name``, and ``width`` and ``height`` if given.

    Raises:
        BadEntryError: it is none.
    """
    fields = _fields(entry)
    width, height = (_optional_side(fields, side) for side in ("width", "height"))
    if (width == 0) != (height == 0):
        raise BadEntryError("malformed", "expected width and height, found one of them")
    return ImageEntry(_integer(fields, "id"), _text(fields, "file_name"), width, height)


def parse_category(entry: Any) -> CategoryEntry:
    """Read an entry of ``categories``: ``id`` and ``name``.

    Raises:
        BadEntryError: it is none.
    """
    fields = _fields(entry)
    return CategoryEntry(_integer(fields, "id"), _text(fields, "name"))


def parse_object(entry: Any) -> ObjectEntry:
    """Read an entry of ``annotations``.

    ``iscrowd`` is 0 where it is missing, and ``area`` the box's. ``ignore`` is what converters
    from Pascal VOC write for difficult objects; pycocotools takes no notice of it.

    Raises:
        BadEntryError: it is none, or its box has a negative size or numbers that are not finite.
    """
    fields = _fields(entry)
    box = _required(fields, "bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise BadEntryError(
            "malformed", f"expected bbox=[x, y, width, height], found {_quote(box)}"
        )
    x, y, width, height = (_number(value, "bbox", box) for value in box)
    if not all(abs(value) <= MAX_PX for value in (x, y, width, height)):  # nor is NaN
        raise BadEntryError("bad box", f"bbox={_quote(box)} has numbers that are no pixel's")
    if width < 0 or height < 0:
        raise BadEntryError("bad box", f"bbox={_quote(box)} has a negative size")
    area = fields.get("area")
    area_px2 = width * height if area is None else _number(area, "area", area)
    if not (math.isfinite(area_px2) and area_px2 >= 0):
        raise BadEntryError("bad box", f"area={area_px2} is no area")
    return ObjectEntry(
        id=_integer(fields, "id"),
        image_id=_integer(fields, "image_id"),
        category_id=_integer(fields, "category_id"),
        box_xywh_px=(x, y, width, height),
        area_px2=area_px2,
        crowd=_flag(fields, "iscrowd"),
        difficult=_flag(fields, "ignore"),
    )


def entry_id(entry: Any) -> int | None:
    """Return an entry's ``id`` for a message, if it has a usable one."""
    found = entry.get("id") if isinstance(entry, dict) else None
    return found if type(found) is int else None


def _fields(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise BadEntryError("malformed", f"expected an object in braces, found {_quote(entry)}")
    return entry


def _required(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise BadEntryError("malformed", f"has no {name}")
    return fields[name]


def _integer(fields: dict[str, Any], name: str) -> int:
    value = _required(fields, name)
    if type(value) is not int or not -_INT64 <= value < _INT64:
        raise BadEntryError("malformed", f"{name}: expected an integer, found {_quote(value)}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = _required(fields, name)
    if not isinstance(value, str) or not value.strip():
        raise BadEntryError("malformed", f"{name}: expected a text, found {_quote(value)}")
    return value


def _optional_side(fields: dict[str, Any], name: str) -> int:
    """Return a width or height, or 0 where there is none."""
    if fields.get(name) is None:
        return 0
    value = _integer(fields, name)
    if not 0 < value <= MAX_PX:
        raise BadEntryError("malformed", f"{name}: expected pixels, found {value}")
    return value


def _number(value: Any, name: str, whole: Any) -> float:
    if type(value) not in (int, float):
        raise BadEntryError("malformed", f"{name}: expected numbers, found {_quote(whole)}")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name, 0)
    if value not in (0, 1):
        raise BadEntryError("malformed", f"{name}: expected 0 or 1, found {_quote(value)}")
    return bool(value)
