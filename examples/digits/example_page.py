"""Draw ``examples/digits/page.png``, a page to try the model on.

cd examples && python -m digits.example_page

It is written as the pages that the model is judged by (`digits.pages`), but is none of them.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from digits.pages import DRAWN_SCALE, PAGE_PX, rule_page, write_with_pen
from digits.paper import to_picture
from tinyyolo3.atomic import whole_file

PLACE = Path(__file__).with_name("page.png")
#: What is written; a blank is as wide as a digit.
ROWS = ("31 7  2048", "64  1 905", "876  23 50", "1 4 9  7 36")
_SEED = 11
_SHEET, _INK = (250, 247, 238), (24, 44, 132)
_HEIGHT, _PEN, _FIRST_Y, _ROW = 92.0, 7.5, 54.0, 158.0
#: Steps that light falls off in: so the file is small, and nobody sees them.
_STEPS = 128


def draw_example_page() -> Image.Image:
    """Draw the page: always the same one."""
    rng = np.random.default_rng(_SEED)
    width, height = PAGE_PX
    page = Image.new("RGB", (width * DRAWN_SCALE, height * DRAWN_SCALE), _SHEET)
    draw = ImageDraw.Draw(page)
    rule_page(rng, draw, 1)
    for number, row in enumerate(ROWS):
        x = 60 + rng.uniform(0, 40)
        for letter in row:
            if letter == " ":
                x += _HEIGHT * 0.4
                continue
            at = (x, _FIRST_Y + number * _ROW + rng.normal(0, 4))
            own = _HEIGHT * rng.uniform(0.92, 1.1)
            box = write_with_pen(rng, draw, int(letter), at, own, _PEN, _INK)
            x = box[2] + _HEIGHT * rng.uniform(0.16, 0.36)
    return _lit(page.resize(PAGE_PX, Image.Resampling.LANCZOS))


def _lit(page: Image.Image) -> Image.Image:
    """Let light fall from the upper left."""
    width, height = page.size
    down, across = np.mgrid[:height, :width]
    light = 1 - 0.16 * (across / width) ** 2 - 0.10 * (down / height) ** 2
    steps = np.rint(light * _STEPS) / _STEPS
    return to_picture(np.asarray(page) * steps[..., None])


if __name__ == "__main__":
    with whole_file(PLACE) as file:
        draw_example_page().save(file, "PNG", optimize=True)
