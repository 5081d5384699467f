"""Read any picture into the one form the engine knows: 8-bit RGB, (rows, columns, 3).

Darknet reads pictures with stb_image and asks it for three channels (image.c,
``load_image_stb``). Pillow knows more formats, so what stb_image does to a picture's channels is
said here mode by mode: grey is repeated, an alpha channel is dropped without blending, and of
16-bit samples the high byte is kept. A damaged, truncated or oversized file is refused in one
line rather than half decoded.
"""

import io
import os
import struct
from typing import IO, TypeAlias

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from tinyyolo3.arrays import ByteArray
from tinyyolo3.errors import ImageError, InputError

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | ByteArray
)

#: Pictures with more pixels are refused before they are decoded: a few kilobytes can claim
#: gigabytes. It is the number at which Pillow itself stops (half a gibibyte of RGB).
MAX_PIXELS = 178_956_970

#: EXIF tag 0x0112, Orientation: what undoes each stored value (Exif 2.32, section 4.6.4).
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 0x0100, 0x0101
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: What people hand in by mistake, by its first bytes.
_IMPOSTORS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the picture (run `git lfs pull`)"),
    (b"<!doctype html", "is an HTML page, not a picture (a download that failed?)"),
    (b"<html", "is an HTML page, not a picture (a download that failed?)"),
    (b"<svg", "is an SVG drawing; only pictures made of pixels can be read"),
    (b"<?xml", "is an XML text; only pictures made of pixels can be read"),
)


def describe_source(source: object) -> str:
    """Name a source as messages and JSON do: the path as given, or its kind in angle brackets."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, Image.Image):
        return "<image>"
    if isinstance(source, np.ndarray):
        return "<array>"
    return f"<{type(source).__name__}>"


def read_image(source: ImageSource, *, exif_orientation: bool = True) -> ByteArray:
    """Read a picture as RGB.

    Args:
        source: a path; an encoded picture as bytes; a Pillow image; or an array of uint8, RGB
            (H, W, 3) or grey (H, W) or (H, W, 1). Of a file with several frames the first is read.
        exif_orientation: turn the picture upright as its EXIF orientation asks. Darknet ignores
            the tag: pass False for its view of a phone's photograph. Arrays carry no tag, and
            Pillow turns TIFFs by itself in either case.

    Returns:
        uint8 (H, W, 3), C-contiguous. It is the caller's own, except that a C-contiguous RGB
        array is handed back itself, uncopied: nothing in this package writes to it.

    Raises:
        ImageError: the picture is missing, empty, not a picture, damaged, truncated, has more than
            `MAX_PIXELS` pixels, or has none. The message names the file.
        InputError: `source` is of another type, or an array of another shape or dtype.

    Floating-point pictures (Pillow's mode F) are grey levels from 0 to 255, or, when none exceeds
    1, fractions of white.
    """
    name = describe_source(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, exif_orientation)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), name, exif_orientation)
    if isinstance(source, str | os.PathLike):
        try:
            with open(source, "rb") as file:
                stream = file if file.seekable() else io.BytesIO(file.read())
                return _from_stream(stream, name, exif_orientation)
        except OSError as error:
            raise _unreadable(name, _reason(error)) from error
        except ValueError as error:  # a NUL inside the path
            raise _unreadable(name, f"is not a path: {error}") from error
    raise InputError(
        f"an image must be a path, bytes, a Pillow image or a uint8 array, "
        f"not {type(source).__name__}"
    )


def read_image_size(
    path: str | os.PathLike[str], *, exif_orientation: bool = True
) -> tuple[int, int]:
    """Return the width and height in pixels that `read_image` would give, from the header alone.

    Raises:
        ImageError: the file is missing, empty, not a picture, or has no pixels.
    """
    name = describe_source(path)
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if not head:
                raise _unreadable(name, "is empty (0 bytes)")
            width, height = _header_size(_open_header(file, head, name), exif_orientation)
    except OSError as error:
        raise _unreadable(name, _reason(error)) from error
    except ValueError as error:  # a NUL inside the path
        raise _unreadable(name, f"is not a path: {error}") from error
    _refuse_empty(width, height, name)
    return width, height


def to_grey(image: ByteArray) -> ByteArray:
    """Return a picture without its colours, as Darknet loads it for a network of one channel.

    Args:
        image: uint8 RGB (H, W, 3).

    Returns:
        uint8 (H, W, 3), three times (77 R + 150 G + 29 B) / 256 (stb_image.h stbi__compute_y).
    """
    weighed = image.astype(np.uint32) @ np.array([77, 150, 29], np.uint32) >> 8
    # DARKNET: the weights are those of its picture loader, stb_image.
    return np.repeat(weighed.astype(np.uint8)[:, :, None], 3, axis=2)


def _from_array(array: ByteArray) -> ByteArray:
    """Accept RGB as it is, and repeat grey three times."""
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    rgb = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (grey or rgb):
        raise InputError(
            f"<array>: expected uint8 of shape (H, W, 3), (H, W) or (H, W, 1), "
            f"found {array.dtype} {array.shape}"
        )
    _refuse_empty(array.shape[1], array.shape[0], "<array>")
    if grey:
        array = np.broadcast_to(array.reshape(*array.shape[:2], 1), (*array.shape[:2], 3))
    return np.ascontiguousarray(array)


def _from_stream(stream: IO[bytes], name: str, exif_orientation: bool) -> ByteArray:
    """Identify, measure, then decode."""
    head = stream.read(64)
    if not head:
        raise _unreadable(name, "is empty (0 bytes)")
    return _decode(_open_header(stream, head, name), name, exif_orientation)


def _open_header(stream: IO[bytes], head: bytes, name: str) -> ImageFile:
    """Find the Pillow plugin that knows the file; no pixel is decoded yet.

    This is ``Image.open`` without its check of the size, which warns through Python's global
    warning filters, and those cannot be silenced for one thread alone. `_decode` checks instead.
    """
    claimed = None
    for make_known in (Image.preinit, Image.init):  # a few formats, then all: 40 ms more
        make_known()
        for kind, (factory, accepts) in Image.OPEN.items():
            known = False
            try:
                known = accepts is not None and accepts(head) is True
                if known or accepts is None:
                    stream.seek(0)
                    return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # "not mine", as in Pillow
                claimed = claimed or (kind if known else None)
            except Exception as error:
                raise _unreadable(name, f"is damaged ({kind}): {_reason(error)}") from error
    if claimed:
        raise _unreadable(name, f"is damaged or truncated: its {claimed} header cannot be read")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, verdict in _IMPOSTORS:
        if text.startswith(start):
            raise _unreadable(name, verdict)
    raise _unreadable(name, f"is not a picture that Pillow knows (it begins with {head[:16]!r})")


def _decode(image: Image.Image, name: str, exif_orientation: bool) -> ByteArray:
    """Decode one frame to RGB, upright if asked."""
    width, height = image.size
    _refuse_empty(width, height, name)
    if width * height > MAX_PIXELS:
        raise _unreadable(
            name, f"has {width}×{height} pixels, more than the {MAX_PIXELS} that are decoded"
        )
    try:
        image.load()
        if exif_orientation:
            image = _upright(image)
        return np.array(_to_rgb(image))
    except Exception as error:  # Pillow's decoders raise nearly every type on damaged data
        raise _unreadable(name, f"is damaged or truncated: {_reason(error)}") from error


def _header_size(image: Image.Image, exif_orientation: bool) -> tuple[int, int]:
    """Return the size that the picture will have when it is decoded."""
    if image.format == "TIFF":
        # Pillow turns these by itself while decoding; whether `size` knows depends on its version.
        stored, turned = image.getexif(), True
        width, height = stored[_WIDTH_TAG], stored[_HEIGHT_TAG]
    else:
        # Of a PNG without the tag before its pixels, Pillow would decode all to look behind them.
        turned = exif_orientation and (image.format != "PNG" or "exif" in image.info)
        width, height = image.size
    return (height, width) if turned and _orientation(image) >= 5 else (width, height)


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value: object = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF says nothing about the pixels, so it says nothing at all
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert whatever mode Pillow decoded to RGB, as stb_image would have."""
    mode = image.mode
    if mode.startswith("I"):
        # DARKNET: stb_image keeps the high byte of 16-bit samples (stbi__convert_16_to_8);
        # Pillow's own conversion would clip them at 255 and leave the picture white.
        samples = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(samples.astype(np.uint8))
    elif mode == "F":
        levels = np.nan_to_num(np.asarray(image), nan=0.0, posinf=255.0, neginf=0.0)
        white = 1.0 if levels.max() <= 1.0 else 255.0
        image = Image.fromarray(np.rint(np.clip(levels / white, 0, 1) * 255).astype(np.uint8))
    elif mode in ("P", "PA", "La", "LA", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
    # DARKNET: alpha is dropped, not blended; what lies under transparent pixels shows.
    return image.convert("RGB")


def _refuse_empty(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise _unreadable(name, f"has no pixels ({width}×{height})")


def _reason(error: Exception) -> str:
    """Put an exception into one line."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a picture"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _unreadable(name: str, reason: str) -> ImageError:
    return ImageError(f"{name if name.isprintable() else ascii(name)}: {reason}")
