"""The cfgs of the classic networks, written by a few lines of code instead of kept as files.

The layers are those of the published YOLOv3 family (Redmon and Farhadi, YOLOv3, 2018, table 1 for
Darknet-53): useful wherever a test or a benchmark needs the full architecture at any size, and
short enough to show what the architectures are.
"""

ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"


def darknet53_config(width: int = 256, height: int = 256, *, classes: int = 1000) -> str:
    """Return the Darknet-53 classifier."""
    tail = _section("avgpool") + _convolution(classes, 1, batch_normalize=False)
    return _net(width, height) + _backbone() + tail + _section("softmax", groups=1)


def yolov3_config(width: int = 416, height: int = 416, *, classes: int = 80) -> str:
    """Return YOLOv3: Darknet-53's 52 convolutions, then heads at strides 32, 16 and 8."""
    return _net(width, height) + _backbone() + _heads(classes, pyramid="")


def yolov3_spp_config(width: int = 608, height: int = 608, *, classes: int = 80) -> str:
    """Return YOLOv3-SPP: YOLOv3 with a pyramid of max-pools before the first head."""
    pyramid = _section("maxpool", stride=1, size=5)
    for window, back in ((9, -2), (13, -4)):
        pyramid += _section("route", layers=back) + _section("maxpool", stride=1, size=window)
    pyramid += _section("route", layers="-1,-3,-5,-6") + _convolution(512, 1)
    return _net(width, height) + _backbone() + _heads(classes, pyramid)


def yolov3_tiny_config(width: int = 416, height: int = 416, *, classes: int = 80) -> str:
    """Return YOLOv3-tiny: seven convolutions with max-pools between, heads at strides 32 and 16."""
    text = _net(width, height)
    for filters in (16, 32, 64, 128, 256):
        text += _convolution(filters, 3) + _section("maxpool", size=2, stride=2)
    text += _convolution(512, 3) + _section("maxpool", size=2, stride=1)
    text += _convolution(1024, 3) + _convolution(256, 1) + _convolution(512, 3)
    text += _head(classes, "3,4,5", TINY_ANCHORS)
    text += _section("route", layers=-4) + _convolution(128, 1) + _section("upsample", stride=2)
    text += _section("route", layers="-1,8") + _convolution(256, 3)
    return text + _head(classes, "0,1,2", TINY_ANCHORS)


def _backbone() -> str:
    """Darknet-53 without its classifier: five halvings, each followed by residual blocks."""
    text = _convolution(32, 3)
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        text += _convolution(filters, 3, stride=2)
        block = _convolution(filters // 2, 1) + _convolution(filters, 3)
        text += (block + _section("shortcut", **{"from": -3}, activation="linear")) * blocks
    return text


def _heads(classes: int, pyramid: str) -> str:
    """Three heads, each fed by five convolutions over its own scale and the one before."""
    text = ""
    # 61 and 36 are the backbone's last layers at strides 16 and 8, which the later heads join.
    for filters, mask, lateral in ((512, "6,7,8", None), (256, "3,4,5", 61), (128, "0,1,2", 36)):
        if lateral is not None:
            text += _section("route", layers=-4) + _convolution(filters, 1)
            text += _section("upsample", stride=2) + _section("route", layers=f"-1,{lateral}")
        pair = _convolution(filters, 1) + _convolution(filters * 2, 3)
        if lateral is None and pyramid:
            text += pair + _convolution(filters, 1) + pyramid
            text += _convolution(filters * 2, 3) + pair
        else:
            text += pair * 3
        text += _head(classes, mask, ANCHORS)
    return text


def _head(classes: int, mask: str, anchors: str) -> str:
    boxes = mask.count(",") + 1
    convolution = _convolution((classes + 5) * boxes, 1, batch_normalize=False)
    total = (anchors.count(",") + 1) // 2
    return convolution + _section("yolo", mask=mask, anchors=anchors, classes=classes, num=total)


def _convolution(filters: int, size: int, *, stride: int = 1, batch_normalize: bool = True) -> str:
    activation = "leaky" if batch_normalize else "linear"
    return _section(
        "convolutional",
        batch_normalize=int(batch_normalize),
        filters=filters,
        size=size,
        stride=stride,
        pad=1,
        activation=activation,
    )


def _net(width: int, height: int) -> str:
    return _section("net", width=width, height=height, channels=3)


def _section(kind: str, **options: object) -> str:
    lines = [f"{name}={value}" for name, value in options.items()]
    return "\n".join([f"[{kind}]", *lines, "", ""])
