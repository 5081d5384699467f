"""How a cfg wants its training pictures changed at random.

Options that change the pictures and are not followed are refused: what is learnt would silently be
something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tinyyolo3.darknet.config import Config, Section
from tinyyolo3.train.labels import MOST_LABELS
from tinyyolo3.train.options import refuse_others

#: Options of [net] that change the pictures, and the values of each that are followed.
_FOLLOWED: Mapping[str, tuple[str, ...]] = {
    "angle": ("0", "0.0"),
    "aspect": ("1", "1.0"),
    "blur": ("0",),
    "contrastive": ("0",),
    "cutmix": ("0",),
    "gaussian_noise": ("0",),
    "mixup": ("0",),
    "track": ("0",),
}

#: The factor of ``random=1`` (detector.c, train_detector).
RANDOM_SIZE_FACTOR = 1.4


@dataclass(frozen=True)
class Augmentation:
    """What is done to pictures; the defaults leave them as they are.

    Attributes:
        jitter: up to this part of each side is cut off or added, at either end.
        resize: up to this factor, or its inverse, a picture is zoomed.
        letter_box: keep the aspect ratio, rather than stretch.
        flip: exchange left and right of every other picture.
        hue: up to this part of the circle of hues is added or taken away.
        saturation: up to this factor, or its inverse, saturation is multiplied by.
        exposure: the same of brightness.
        mosaic: every other picture is put together of four.
        mosaic_bound: boxes end where their picture does in a mosaic.
    """

    jitter: float = 0.0
    resize: float = 1.0
    letter_box: bool = False
    flip: bool = False
    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0
    mosaic: bool = False
    mosaic_bound: bool = False


@dataclass(frozen=True)
class PictureOptions:
    """All that a cfg says about training pictures.

    Attributes:
        augmentation: how they are changed.
        classes: that the network tells apart.
        most_labels: of a picture that are looked at.
        size_factor: between its inverse and itself the network's size is multiplied; 1 for none.
        size_step_px: the sizes are multiples of it.
    """

    augmentation: Augmentation
    classes: int
    most_labels: int = MOST_LABELS
    size_factor: float = 1.0
    size_step_px: int = 32


def read_picture_options(config: Config) -> PictureOptions:
    """Read a cfg's options about pictures (parser.c, parse_net_options and parse_yolo).

    Raises:
        ConfigError: an option is out of range or not supported in training, with its line; or there
            is no [yolo] head.
    """
    net = config.net
    refuse_others(net, _FOLLOWED)
    heads = [section for section in config.layers if section.kind == "yolo"]
    if not heads:
        raise net.error("has no [yolo] layer to train")
    # DARKNET: the last head decides for all (detector.c, train_detector).
    head = heads[-1]
    factor = head.number("random", 0.0, low=0.0, high=10.0)
    if factor == 1:
        # DARKNET: random=1 is a switch, and any other number the factor itself.
        factor = RANDOM_SIZE_FACTOR
    return PictureOptions(
        augmentation=_read_augmentation(net, head),
        classes=head.integer("classes", 20, low=1),
        most_labels=head.integer("max", MOST_LABELS, low=1),
        size_factor=factor or 1.0,
        size_step_px=net.integer("resize_step", 32, low=1, high=1 << 12),
    )


def _read_augmentation(net: Section, head: Section) -> Augmentation:
    jitter = head.number("jitter", 0.2, low=0.0, high=0.49)
    resize = head.number("resize", 1.0, low=0.1, high=10.0)
    if resize > 1 and jitter + (1 - 1 / resize) / 2 > 0.49:
        text = f"{head.quote('resize')} with jitter={jitter:g} may leave nothing of a picture"
        raise head.error(text, "resize")
    return Augmentation(
        jitter=jitter,
        resize=resize,
        letter_box=net.flag("letter_box"),
        flip=net.integer("flip", 1) != 0,
        hue=net.number("hue", 0.0, low=-1.0, high=1.0),
        # DARKNET: 0 is 1 (data.c, load_thread).
        saturation=net.number("saturation", 1.0, low=0.0, high=100.0) or 1.0,
        exposure=net.number("exposure", 1.0, low=0.0, high=100.0) or 1.0,
        mosaic=net.flag("mosaic"),
        mosaic_bound=net.flag("mosaic_bound"),
    )
