"""What training takes its pictures from: a window over an endless row of scenes.

Drawing a scene takes some 7 ms of one core, more than a small network has for a picture. So scenes
are used several times: a batch is drawn from the newest thousands, of which a few leave and as many
come with every iteration, and colours are changed anew each time.
"""

import numpy as np

from digits.scenes import SIZE, Scene, draw_scene
from digits.strokes import Rng
from digits.writer import Writer
from tinyyolo3.arrays import ByteArray, FloatArray
from tinyyolo3.train.batches import Batch
from tinyyolo3.train.labels import Truths

#: Scenes that batches are drawn from.
WINDOW = 4000
#: New ones with every iteration, once the window is full. Until then all of a batch's number are.
FRESH = 2


class SceneBatches:
    """The batch of each iteration, a function of the seed and the iteration alone.

    It is a `tinyyolo3.train.batches.BatchSource`.
    """

    def __init__(self, writer: Writer, *, batch: int, seed: int, window: int = WINDOW) -> None:
        """Draw nothing yet.

        Args:
            writer: writes the digits.
            batch: pictures of an iteration.
            seed: of all that is random.
            window: scenes that batches are drawn from, at least as many as a batch's.
        """
        self._writer, self._batch, self._seed, self._window = writer, batch, seed, window
        self._scenes: dict[int, Scene] = {}

    def batch(self, iteration: int) -> Batch:
        """Return the batch of an iteration; the first is 1."""
        numbers = self.window_at(iteration)
        self._scenes = {n: self._scenes.get(n) or self._draw(n) for n in numbers}
        # Scenes have seeds of two numbers, batches of three, so that they are never alike.
        rng = np.random.default_rng([self._seed, iteration, self._batch])
        chosen = [
            self._scenes[int(n)] for n in rng.integers(numbers.start, numbers.stop, self._batch)
        ]
        pictures = np.stack([_recoloured(rng, scene.picture) for scene in chosen])
        return Batch(pictures, tuple(map(_truths, chosen)), (SIZE, SIZE))

    def window_at(self, iteration: int) -> range:
        """Return the numbers of the scenes that an iteration draws from."""
        filling = min(iteration, -(-self._window // self._batch))
        stop = filling * self._batch + (iteration - filling) * FRESH
        return range(max(0, stop - self._window), stop)

    def _draw(self, number: int) -> Scene:
        return draw_scene(np.random.default_rng([self._seed, number]), self._writer)


def _recoloured(rng: Rng, picture: ByteArray) -> FloatArray:
    """Return a picture (3, H, W) float32, 0 to 1, in another light or with its channels changed."""
    order = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    gains = (rng.uniform(0.85, 1.1, 3) / 255).astype(np.float32)
    channels = picture.transpose(2, 0, 1)[order] * gains[:, None, None]
    lit: FloatArray = np.minimum(channels, 1)
    return lit


def _truths(scene: Scene) -> Truths:
    corners = scene.boxes_xyxy_px.reshape(-1, 2, 2) / SIZE
    sizes = corners[:, 1] - corners[:, 0]
    return Truths(np.hstack([corners.mean(axis=1), sizes]), scene.digits)
