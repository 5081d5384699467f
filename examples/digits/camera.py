"""How a sheet looks in a photograph: light, shadow, colour cast, noise, blur, and JPEG."""

import io
import math

import numpy as np
from PIL import Image, ImageFilter

from digits.paper import to_picture
from digits.strokes import Rng
from digits.writer import log_uniform, smooth_field
from tinyyolo3.arrays import FloatArray


def photograph(rng: Rng, sheet: FloatArray, smallest_px: float) -> Image.Image:
    """Take a picture of a sheet.

    Args:
        rng: decides all.
        sheet: (S, S, 3) float32, 0 to 255; changed.
        smallest_px: height of the smallest thing on it that should stay legible.
    """
    size = sheet.shape[0]
    if rng.random() < 0.65:
        light = smooth_field(rng, int(rng.integers(2, 5)), size)
        sheet *= (1 + light * rng.uniform(0.03, 0.42))[..., None]
    if rng.random() < 0.12:
        sheet *= shadow_edge(rng, (size, size), 60, rng.uniform(2, 30), rng.uniform(0.1, 0.45))
    if rng.random() < 0.6:
        sheet *= rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < 0.5:
        np.clip(sheet, 0, 255, out=sheet)
        sheet = 255 * (sheet / 255) ** np.float32(log_uniform(rng, 0.65, 1.5))
    if rng.random() < 0.45:
        channels = 1 if rng.random() < 0.5 else 3
        noise = rng.standard_normal((size, size, channels), dtype=np.float32)
        sheet += noise * np.float32(rng.uniform(1, 12))
    picture = to_picture(sheet)
    if rng.random() < 0.45:
        most = min(1.7, 0.035 * smallest_px + 0.4)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, most)))
    return picture


def compress(rng: Rng, picture: Image.Image) -> Image.Image:
    """Save a picture as JPEG and read it again, or do not."""
    if rng.random() >= 0.35:
        return picture
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(35, 95)))
    return Image.open(file).convert("RGB")


def shadow_edge(
    rng: Rng, size_px: tuple[int, int], reach: float, softness: float, depth: float
) -> FloatArray:
    """Return the light (H, W, 1), float32 up to 1, where half of a picture lies in a shadow.

    Args:
        rng: decides the edge's direction and place.
        size_px: width and height.
        reach: how far from the middle the edge may be, px.
        softness: px in which the shadow falls off.
        depth: the light that it takes.
    """
    width, height = size_px
    angle = rng.uniform(0, 2 * math.pi)
    x = np.arange(width, dtype=np.float32) - np.float32(width / 2)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)
    across = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
    distance = np.clip((across - np.float32(rng.uniform(-reach, reach))) / softness, -20, 20)
    light: FloatArray = 1 - np.float32(depth) / (1 + np.exp(-distance.astype(np.float32)))
    return light[..., None]
