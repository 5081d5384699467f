"""What the model is evaluated on, fixed before it was trained and not changed since.

Three sets, made anew whenever they are wanted: each picture is a function of its set's seed and its
own number. `tests/examples/test_sets.py` has their digests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from digits.handwriting import split
from digits.pages import draw_page
from digits.scenes import Scene, draw_scene
from digits.writer import make_writer


@dataclass(frozen=True)
class EvaluationSet:
    """Labelled pictures that decide how good the model is.

    Attributes:
        name: what it is called.
        count: pictures.
        input_px: width and height of the network's input.
        seed: of its pictures.
        part: of the handwriting (`digits.handwriting.split`) that its scenes are written with, or
            None for pages, which are drawn.
        least_AP50: what the model should reach.
        least_AP: likewise, of the mean over IoU thresholds from 0.5 to 0.95.
    """

    name: str
    count: int
    input_px: tuple[int, int]
    seed: int
    part: str | None
    least_AP50: float  # noqa: N815 (COCO's name)
    least_AP: float  # noqa: N815

    def pictures(self, numbers: Iterable[int] | None = None) -> Iterator[Scene]:
        """Draw the set, or those of its pictures with some numbers, from 0."""
        writer = None if self.part is None else make_writer(split()[self.part])
        for n in range(self.count) if numbers is None else numbers:
            rng = np.random.default_rng([self.seed, n])
            yield draw_page(rng, n) if writer is None else draw_scene(rng, writer)


SETS = (
    EvaluationSet("held-out digits", 500, (256, 256), 20_256, "held out", 0.97, 0.75),
    EvaluationSet("unseen writers", 500, (256, 256), 30_256, "unseen writers", 0.95, 0.73),
    EvaluationSet("pen-drawn pages", 60, (416, 416), 40_416, None, 0.88, 0.65),
)
