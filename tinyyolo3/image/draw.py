"""Paint boxes and their labels on a picture, readable on a thumbnail and on a poster.

Lines and letters grow with the square root of the picture's area. Colours step round the hue
circle by the golden ratio, which keeps any run of consecutive classes apart (Knuth, The Art of
Computer Programming 6.4, on Fibonacci hashing). A label is placed where it hides the least: of a
few places along its box, the one that overlaps the labels already placed the least.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinyyolo3.arrays import ByteArray, FloatArray, IntArray
from tinyyolo3.errors import InputError

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
#: Saturation and value in turn, so that colours whose hues come close still differ: any two of
#: the first eighty classes are 6 apart in CIELAB, and any two of the first twenty 18.
_SHADES = ((0.85, 1.0), (0.45, 1.0), (0.65, 0.9), (0.85, 0.9), (0.65, 0.85), (0.75, 1.0))
#: A box with less room than this many labels gets its label outside, where it hides nothing of it.
_ROOMY = 4
#: A label is cut to this many characters; nobody reads more on a picture.
_LONGEST_LABEL = 100
#: Its ink is as high and as deep as any common letter's.
_TALL_AND_DEEP = "Ág"


class _Rectangle(NamedTuple):
    """Whole pixels; the right column and the bottom row no longer belong to it."""

    left: int
    top: int
    right: int
    bottom: int


class _Style(NamedTuple):
    line_width: int
    padding: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Annotation(NamedTuple):
    outline: _Rectangle
    colour: tuple[int, int, int]
    text: str
    label: _Rectangle


def class_colour(class_id: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class, 0 to 255: always the same, and unlike its neighbours'."""
    saturation, value = _SHADES[class_id % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb((class_id * _GOLDEN_RATIO) % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever contrasts more with an RGB background (WCAG 2.1, 1.4.3)."""
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast is (brighter + .05) / (darker + .05): black wins where (L + .05)² > 1.05 · .05.
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def draw_detections(
    image: ByteArray,
    boxes_xyxy_px: FloatArray,
    labels: Sequence[str],
    colour_ids: Sequence[int],
) -> Image.Image:
    """Draw labelled boxes on a copy of a picture.

    Args:
        image: uint8 RGB (H, W, 3).
        boxes_xyxy_px: (N, 4), left, top, right and bottom in pixels, most confident first: the
            first is drawn on top and its label is placed first. They may leave the picture, and
            be infinite; a box that is NaN or wholly outside is left out.
        labels: N texts. An empty one draws no label.
        colour_ids: N class indices, which choose the colours (see `class_colour`).

    Returns:
        A new RGB Pillow image.

    Raises:
        InputError: an argument of the wrong shape or dtype, or of another length than the boxes.
    """
    boxes = np.asarray(boxes_xyxy_px, np.float64)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"image must be uint8 (H, W, 3) and not empty; found {image.dtype} {image.shape}"
        )
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes_xyxy_px must be (N, 4); found {boxes.shape}")
    if not len(boxes) == len(labels) == len(colour_ids):
        raise InputError(
            f"expected as many labels and colour_ids as boxes ({len(boxes)}); "
            f"found {len(labels)} and {len(colour_ids)}"
        )
    height, width = image.shape[:2]
    style = _style(width, height)
    annotations: list[_Annotation] = []
    placed = np.empty((len(boxes), 4), np.int64)
    for box, text, colour_id in zip(boxes, labels, colour_ids, strict=True):
        outline = _outline(box, style.line_width, width, height)
        if outline is None:
            continue
        line = " ".join(text.split())[:_LONGEST_LABEL]
        size = _label_size(line, style)
        label = _place_label(size, outline, placed[: len(annotations)], width, height)
        placed[len(annotations)] = label
        annotations.append(_Annotation(outline, class_colour(int(colour_id)), line, label))
    canvas = Image.fromarray(image).copy()
    draw = ImageDraw.Draw(canvas)
    for annotation in reversed(annotations):
        _draw_outline(draw, annotation, style)
    for annotation in reversed(annotations):
        if annotation.text:
            _draw_label(draw, annotation, style)
    return canvas


def _style(width: int, height: int) -> _Style:
    """Choose line width, padding and font by the side of a square of the picture's area."""
    side = math.sqrt(width * height)
    return _Style(
        line_width=math.ceil(side * 0.004),
        padding=max(2, round(side * 0.005)),
        font=ImageFont.load_default(size=max(11, round(side * 0.023))),
    )


def _outline(
    box_xyxy_px: FloatArray, line_width: int, width: int, height: int
) -> _Rectangle | None:
    """Return the outer edge of a box's line; None where nothing of the box is to be seen.

    The line runs outside the box, so that it hides nothing of a small object, and at the
    picture's border inside it, so that it is seen at all.
    """
    if np.isnan(box_xyxy_px).any():
        return None
    x, y = np.sort(box_xyxy_px[[0, 2]]), np.sort(box_xyxy_px[[1, 3]])
    if x[1] <= 0 or y[1] <= 0 or x[0] >= width or y[0] >= height:
        return None
    left, right = (round(float(edge)) for edge in np.clip(x, 0, width))
    top, bottom = (round(float(edge)) for edge in np.clip(y, 0, height))
    return _Rectangle(
        max(left - line_width, 0),
        max(top - line_width, 0),
        min(right + line_width, width),
        min(bottom + line_width, height),
    )


def _label_size(text: str, style: _Style) -> tuple[int, int]:
    """Return the width and height of a label; all that have text are equally high."""
    if not text:
        return 0, 0
    left, _, right, _ = style.font.getbbox(text)
    _, top, _, bottom = style.font.getbbox(_TALL_AND_DEEP)
    return (
        math.ceil(right - left) + 2 * style.padding,
        math.ceil(bottom - top) + 2 * style.padding,
    )


def _place_label(
    size: tuple[int, int], outline: _Rectangle, placed: IntArray, width: int, height: int
) -> _Rectangle:
    """Choose the place along a box, inside the picture, that hides the least of other labels."""
    label_width, label_height = size
    above, below = outline.top - label_height, outline.bottom
    inside_top, inside_bottom = outline.top, outline.bottom - label_height
    roomy = _area(outline) >= _ROOMY * label_width * label_height
    tops = [above, inside_top, below, inside_bottom] if roomy else [above, below]
    aligned = outline.left, outline.right - label_width
    corners = [(max(0, min(left, width - label_width)), top) for left in aligned for top in tops]
    corners += [(outline.right, outline.top), (outline.left - label_width, outline.top)]
    places = [
        _Rectangle(left, top, left + label_width, top + label_height)
        for left, top in corners
        if 0 <= left <= max(0, width - label_width) and 0 <= top <= height - label_height
    ] or [_Rectangle(0, 0, label_width, label_height)]
    return places[np.argmin(_overlap_areas(np.array(places, np.int64), placed))]


def _area(rectangle: _Rectangle) -> int:
    return (rectangle.right - rectangle.left) * (rectangle.bottom - rectangle.top)


def _overlap_areas(places: IntArray, others: IntArray) -> IntArray:
    """Sum, for each of `places` (P, 4), the areas in pixels it shares with `others` (N, 4)."""
    upper_left = np.maximum(places[:, None, :2], others[:, :2])
    lower_right = np.minimum(places[:, None, 2:], others[:, 2:])
    shared = np.maximum(lower_right - upper_left, 0).prod(axis=2)
    total: IntArray = shared.sum(axis=1)
    return total


def _draw_outline(draw: ImageDraw.ImageDraw, annotation: _Annotation, style: _Style) -> None:
    left, top, right, bottom = annotation.outline
    corners = (left, top, right - 1, bottom - 1)
    draw.rectangle(corners, outline=annotation.colour, width=style.line_width)


def _draw_label(draw: ImageDraw.ImageDraw, annotation: _Annotation, style: _Style) -> None:
    left, top, right, bottom = annotation.label
    draw.rectangle((left, top, right - 1, bottom - 1), fill=annotation.colour)
    text_left = style.font.getbbox(annotation.text)[0]
    text_top = style.font.getbbox(_TALL_AND_DEEP)[1]
    draw.text(
        (left + style.padding - text_left, top + style.padding - text_top),
        annotation.text,
        fill=text_colour(annotation.colour),
        font=style.font,
    )
