"""The page to try the model on is what its code draws."""

import numpy as np
from PIL import Image

from digits.example_page import PLACE, draw_example_page

#: Grey levels by which another Pillow may draw edges, on average.
ALIKE = 0.5


def test_the_stored_page_is_the_drawn_one() -> None:
    with Image.open(PLACE) as stored:
        assert stored.format == "PNG"
        kept = np.asarray(stored.convert("RGB"), np.float64)
    drawn = np.asarray(draw_example_page(), np.float64)
    assert kept.shape == drawn.shape == (700, 1000, 3)
    assert np.abs(kept - drawn).mean() < ALIKE
    assert PLACE.stat().st_size < 150_000
