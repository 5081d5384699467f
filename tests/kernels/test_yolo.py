"""kernels/yolo.cu against the plain reference."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.cuda.target import Target
from tinyyolo3.layers.yolo import yolo_forward_cuda, yolo_forward_reference
from tinyyolo3.testing.kernels import margins, run_on_maps
from tinyyolo3.testing.strategies import seeds

#: What is far out, for a head of any kind.
SPECIAL = [0.0, -0.0, 17.0, -90.0, 89.0, 1e3, -1e3, np.inf, -np.inf, np.nan]


def head(seed: int, images: int, anchors: int, classes: int, share: float) -> np.ndarray:
    """Draw a head's maps of random size, a share of their numbers extreme."""
    rng = np.random.default_rng(seed)
    shape = (images, anchors * (5 + classes), *rng.integers(1, 6, 2))
    x = rng.normal(0, 3, shape)
    return np.where(rng.random(shape) < share, rng.choice(SPECIAL, shape), x).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds(),
    images=st.integers(1, 3),
    anchors=st.integers(1, 3),
    classes=st.integers(1, 6),
    scale=st.sampled_from([1.0, 1.05, 2.0]),
    new_coords=st.booleans(),
    share=st.sampled_from([0, 0.1]),
    margin=margins,
)
def test_the_kernel_activates_as_the_reference(
    target: Target,
    seed: int,
    images: int,
    anchors: int,
    classes: int,
    scale: float,
    new_coords: bool,
    share: float,
    margin: int,
) -> None:
    x = head(seed, images, anchors, classes, share)
    options = {"classes": classes, "scale_x_y": scale, "new_coords": new_coords}
    expected = yolo_forward_reference(x, anchors=anchors, **options)
    launch = partial(yolo_forward_cuda, target, **options)
    np.testing.assert_array_equal(run_on_maps(target, launch, [x], x.shape, margin), expected)
