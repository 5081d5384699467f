"""A small network that takes every step that a plan can have."""

import pytest

VARIED = """
[net]
channels=3
width={width}
height={height}
[convolutional]
batch_normalize=1
filters=16
size=3
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=42
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=24
size=1
activation=mish
[convolutional]
filters=42
size=3
pad=1
activation=leaky
[dropout]
[shortcut]
from=1
activation=linear
[convolutional]
filters=42
groups=42
size=3
pad=1
activation=relu
[avgpool]
[convolutional]
filters=42
size=1
activation=logistic
[scale_channels]
from=6
activation=linear
[maxpool]
size=2
stride=2
[convolutional]
filters=48
groups=2
size=5
pad=1
activation=leaky
[maxpool]
size=5
stride=1
[route]
layers=-1,10,-2
[convolutional]
filters=32
size=3
stride=2
pad=1
activation=swish
[convolutional]
filters=32
size=1
activation=logistic
[sam]
from=-2
[convolutional]
filters=18
size=1
activation=linear
[yolo]
mask=0,1,2
anchors=4,6, 8,8, 12,16
classes=1
num=3
[route]
layers=-3
groups=2
group_id=1
[upsample]
stride=2
[route]
layers=2
[reorg]
stride=2
[route]
layers=-1,-3
[convolutional]
filters=18
size=3
pad=1
activation=linear
[yolo]
mask=0,1,2
anchors=4,6, 8,8, 12,16
classes=1
num=3
"""


@pytest.fixture(scope="session")
def varied_cfg() -> str:
    """A cfg's text with ``{width}`` and ``{height}`` to fill in, multiples of 8."""
    return VARIED
