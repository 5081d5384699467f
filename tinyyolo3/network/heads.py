"""The [yolo] and [region] sections: anchors, masks, and the count of filters they need."""

from tinyyolo3.darknet.config import Section
from tinyyolo3.network import specs
from tinyyolo3.network.sections import Place, Reader

NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")
#: Box offsets (x, y, w, h) and objectness, before the class scores.
BOX_ENTRIES = 5
MAX_CLASSES = 2**20
MAX_ANCHORS = 4096


def yolo(section: Section, place: Place) -> specs.Yolo:
    """[yolo]: parser.c parse_yolo.

    The layer before it must have ``(classes + 5) * len(mask)`` filters.
    """
    classes = section.integer("classes", 20, low=1, high=MAX_CLASSES)
    total = section.integer("num", 1, low=1, high=MAX_ANCHORS)
    # DARKNET: without a mask the head predicts all `num` anchors (parse_yolo_mask).
    mask = section.integers("mask") if "mask" in section.options else tuple(range(total))
    for entry in mask:
        if not 0 <= entry < total:
            raise section.error(
                f"{section.quote('mask')}: {entry} is not one of the num={total} anchors",
                "mask",
            )
    anchors = _anchor_pairs(section, total)
    nms_kind = section.text("nms_kind", "default")
    if nms_kind not in NMS_KINDS:
        raise section.error(
            f"{section.quote('nms_kind')} is unknown; known are {', '.join(NMS_KINDS)}", "nms_kind"
        )
    _check_filters(section, place, classes, len(mask), "len(mask)")
    return specs.Yolo(
        **place.common(section, place.input_shape),
        classes=classes,
        anchors=tuple(anchors[entry] for entry in mask),
        mask=mask,
        scale_x_y=section.number("scale_x_y", 1.0, low=0.01, high=100.0),
        new_coords=section.flag("new_coords"),
        nms_kind=nms_kind,
        beta_nms=section.number("beta_nms", 0.6, low=0.0, high=100.0),
        # DARKNET: has no such option, and passes over it with a line about an unused field.
        agnostic_nms=section.flag("agnostic_nms"),
    )


def region(section: Section, place: Place) -> specs.Region:
    """[region]: parser.c parse_region, YOLOv2's head."""
    for name in ("tree", "map"):
        if name in section.options:
            raise section.error(f"{name}= (a word tree of classes) is not supported", name)
    if section.integer("coords", 4) != 4:
        raise section.error("coords= must be 4", "coords")
    for name in ("background", "classfix"):
        if section.flag(name):
            raise section.error(f"{section.quote(name)} is not supported", name)
    classes = section.integer("classes", 20, low=1, high=MAX_CLASSES)
    total = section.integer("num", 1, low=1, high=MAX_ANCHORS)
    anchors = _anchor_pairs(section, total)
    _check_filters(section, place, classes, total, "num")
    return specs.Region(
        **place.common(section, place.input_shape),
        classes=classes,
        anchors=anchors,
        softmax=section.flag("softmax"),
    )


def _anchor_pairs(section: Section, total: int) -> tuple[tuple[float, float], ...]:
    """Read ``anchors=``: `total` pairs of width and height; more are ignored, as Darknet does."""
    values = section.numbers("anchors")
    if len(values) < 2 * total:
        raise section.error(
            f"anchors= has {len(values)} numbers; num={total} anchors need {2 * total}", "anchors"
        )
    for value in values[: 2 * total]:
        if not 0 < value <= 1e6:
            raise section.error(f"anchors= holds {value:g}; a side must be positive", "anchors")
    return tuple(zip(values[0 : 2 * total : 2], values[1 : 2 * total : 2], strict=True))


def _check_filters(
    section: Section, place: Place, classes: int, boxes: int, boxes_name: str
) -> None:
    if place.index == 0:
        raise section.error("needs a layer before it, whose output it reads as boxes")
    needed = (classes + BOX_ENTRIES) * boxes
    found = place.input_shape[0]
    if found != needed:
        raise section.error(
            f"needs filters=(classes+5)*{boxes_name} = ({classes}+5)*{boxes} = {needed} in the "
            f"layer before it, which has {found} channels"
        )


HEAD_READERS: dict[str, Reader] = {"yolo": yolo, "region": region}
