"""What a cfg says about its training pictures, and what it may not say."""

import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import ConfigError
from tinyyolo3.train.augmentation import Augmentation, PictureOptions, read_picture_options
from tinyyolo3.train.labels import MOST_LABELS

CFG = """\
[net]
width=64
height=32
{net}
[yolo]
classes=9
jitter=.4
random=1
[yolo]
{head}
"""


def options(net: str = "", head: str = "") -> PictureOptions:
    return read_picture_options(parse_config(CFG.format(net=net, head=head), "x.cfg"))


def test_a_cfg_that_says_nothing_has_darknets_defaults():
    assert options() == PictureOptions(Augmentation(jitter=0.2, flip=True), 20, MOST_LABELS, 1, 32)


def test_what_the_cfg_says_is_read():
    net = (
        "flip=0\nhue=.1\nsaturation=1.5\nexposure=2\nmosaic=1\nmosaic_bound=1\nletter_box=1\n"
        "resize_step=64\nangle=0\n"
    )
    head = "jitter=.3\nresize=1.2\nrandom=1.5\nmax=7\nclasses=3\n"
    wanted = Augmentation(0.3, 1.2, True, False, 0.1, 1.5, 2.0, True, True)
    assert options(net, head) == PictureOptions(wanted, 3, 7, 1.5, 64)


def test_random_1_is_a_switch_and_any_other_number_the_factor():
    assert options(head="random=1").size_factor == 1.4
    assert options(head="random=0").size_factor == 1
    assert options(head="random=1.2").size_factor == 1.2


def test_no_saturation_and_no_exposure_leave_colours_alone():
    found = options("saturation=0\nexposure=0").augmentation
    assert (found.saturation, found.exposure) == (1, 1)


@pytest.mark.parametrize(
    ("net", "head", "match"),
    [
        ("mixup=1", "", r"x.cfg:4 \[net\] mixup=1 is not supported in training"),
        ("cutmix=1", "", "cutmix=1 is not supported"),
        ("angle=7", "", "angle=7 is not supported in training; only angle=0 or 0.0 is"),
        ("blur=1", "", "blur=1 is not supported"),
        ("gaussian_noise=5", "", "gaussian_noise=5 is not supported"),
        ("track=1", "", "track=1 is not supported"),
        ("hue=2", "", "hue=2 must be from -1 to 1"),
        ("saturation=-1", "", "saturation=-1 must be"),
        ("", "jitter=.6", r"\[yolo\] jitter=.6 must be from 0 to 0.49"),
        ("", "jitter=.4\nresize=1.5", "resize=1.5 with jitter=0.4 may leave nothing"),
        ("", "resize=0", "resize=0 must be"),
        ("", "random=-1", "random=-1 must be"),
        ("", "max=0", "max=0 must be"),
    ],
)
def test_what_is_not_followed_or_out_of_range_is_refused(net: str, head: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        options(net, head)


def test_a_network_without_a_head_is_refused():
    text = "[net]\nwidth=8\nheight=8\n[convolutional]\n"
    with pytest.raises(ConfigError, match=r"\[net\] has no \[yolo\] layer to train"):
        read_picture_options(parse_config(text))
