"""One Pascal VOC annotation: from XML to numbers, or what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from tinyyolo3.data.label_files import MAX_PX, parse_number, read_label_file
from tinyyolo3.data.samples import BadEntryError

#: Where an object's line is kept: no XML attribute can have this name.
_LINE = " line"


@dataclass(frozen=True)
class ObjectElement:
    """One ``<object>``: the edges are those of its box, 0 being the picture's left or top edge."""

    name: str
    box_xyxy_px: tuple[float, float, float, float]
    difficult: bool


def parse_xml(file: Path) -> Element:
    """Return the ``<annotation>`` of a file.

    Raises:
        BadEntryError: the file cannot be read, is no XML, has a document type (its entities can
            make gigabytes of a few bytes), or is no annotation.
    """
    data = read_label_file(file)
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = builder.start(tag, attributes)
        if tag == "object":
            element.set(_LINE, str(parser.CurrentLineNumber))

    def refuse(*_: object) -> None:
        raise BadEntryError("malformed", "a document type (<!DOCTYPE>) is refused")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as problem:  # also an unknown encoding
        raise BadEntryError("malformed", f"is not XML: {problem}") from None
    root = builder.close()
    if root.tag != "annotation":
        raise BadEntryError("malformed", f"expected <annotation>, found <{root.tag:.40}>")
    return root


def object_line(element: Element) -> int:
    """Return the line of an ``<object>``."""
    return int(element.get(_LINE, "0"))


def parse_size(root: Element) -> tuple[int, int] | None:
    """Return width and height, or None where the annotation does not say them.

    Raises:
        BadEntryError: they are no sizes.
    """
    sides = []
    for name in ("width", "height"):
        text = (root.findtext(f"size/{name}") or "").strip()
        if not text:
            return None
        value = parse_number(f"size/{name}", text)
        if not (0 <= value <= MAX_PX and value == int(value)):
            raise BadEntryError("malformed", f"size/{name}: expected pixels, found {text:.40}")
        sides.append(int(value))
    # Some annotation tools write 0 for what they do not know.
    return (sides[0], sides[1]) if all(sides) else None


def object_name(element: Element) -> str:
    """Return an object's class.

    Raises:
        BadEntryError: it has none.
    """
    name = (element.findtext("name") or "").strip()
    if not name:
        raise BadEntryError("malformed", "the object has no <name>")
    return name


def parse_object(element: Element) -> ObjectElement:
    """Read an ``<object>``: ``name``, ``bndbox``, and ``difficult`` if it is there.

    Raises:
        BadEntryError: a part is missing or is no number, or the box has a negative size.
    """
    name = object_name(element)
    xmin, ymin, xmax, ymax = (_corner(element, part) for part in ("xmin", "ymin", "xmax", "ymax"))
    # Pixels are counted from 1, and the last one belongs to the box.
    box_xyxy_px = (xmin - 1, ymin - 1, xmax, ymax)
    if box_xyxy_px[2] < box_xyxy_px[0] or box_xyxy_px[3] < box_xyxy_px[1]:
        text = f"xmin={xmin:g} ymin={ymin:g} xmax={xmax:g} ymax={ymax:g} has a negative size"
        raise BadEntryError("bad box", text)
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise BadEntryError("malformed", f"difficult: expected 0 or 1, found {difficult:.40}")
    return ObjectElement(name, box_xyxy_px, difficult == "1")


def _corner(element: Element, name: str) -> float:
    text = (element.findtext(f"bndbox/{name}") or "").strip()
    if not text:
        raise BadEntryError("malformed", f"the object has no bndbox/{name}")
    value = parse_number(name, text)
    if abs(value) > MAX_PX:
        raise BadEntryError("bad box", f"{name}={text:.40} is no pixel's")
    return value
