"""The self-test's cases of all layers but the convolutions: maps of odd sizes, and wider ones."""

from collections.abc import Iterator

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.selftest import pixelwise, sums
from tinyyolo3.selftest.case import Case


def layer_cases() -> Iterator[Case]:
    """Yield every case; the functions make others of any shapes."""
    for kind in ACTIVATIONS:
        yield pixelwise.activation((2, 8, 7, 5), kind)
    yield pixelwise.activation((1, 5, 3, 9), "mish", margin=3)
    yield sums.avgpool((2, 37, 13, 11))
    yield sums.avgpool((1, 64, 4, 4), margin=4)
    yield sums.batchnorm((2, 12, 7, 9))
    yield sums.batchnorm((1, 5, 3, 4), margin=2)
    yield sums.batchnorm_statistics((3, 35, 9, 11))
    yield sums.connected((1, 8, 5, 3), 30, "leaky")
    yield sums.connected((5, 7, 3, 3), 9, "logistic")
    yield pixelwise.layout_in((2, 35, 9, 7))
    yield pixelwise.layout_in((1, 12, 13, 17), margin=5)
    yield pixelwise.layout_in((2, 3, 23, 29), margin=1)
    yield pixelwise.layout_out((2, 35, 9, 7))
    yield pixelwise.layout_out((1, 255, 4, 3), margin=1)
    yield pixelwise.maxpool((2, 8, 13, 9), 2, (2, 2), 1)
    yield pixelwise.maxpool((1, 5, 7, 7), 5, (1, 1), 4, margin=3)
    yield pixelwise.reorg((2, 4, 6, 10), 2)
    yield pixelwise.route([(2, 8, 5, 7), (2, 4, 5, 7)])
    yield pixelwise.route([(1, 6, 3, 5)], groups=2, group_id=1, margin=3)
    yield pixelwise.sam((2, 8, 5, 7))
    yield pixelwise.scale_channels((2, 8, 5, 7), scale_wh=False)
    yield pixelwise.scale_channels((2, 5, 5, 7), scale_wh=True)
    yield pixelwise.shortcut((2, 8, 6, 10), (2, 8, 6, 10), "linear")
    yield pixelwise.shortcut((1, 6, 5, 9), (1, 4, 10, 18), "leaky", margin=1)
    yield sums.softmax((3, 1000, 1, 1), 1)
    yield sums.softmax((2, 60, 1, 1), 3)
    yield pixelwise.upsample((2, 8, 5, 7), 2)
    yield pixelwise.upsample((1, 3, 4, 3), 3, margin=2)
