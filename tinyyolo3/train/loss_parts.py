"""What is told of a step: the parts of the loss, and how well responsible predictions lie.

The parts are those of the loss that Darknet prints: the sums of the squared deltas of boxes,
objectness and classes; of boxes, an IoU loss itself where the cfg names one. Source: AlexeyAB's
yolo_layer.c, forward_yolo_layer, and network.c, get_network_cost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyyolo3.arrays import FloatArray
from tinyyolo3.layers.yolo import split_anchors
from tinyyolo3.train.iou_loss import overlap_scores
from tinyyolo3.train.labels import Truths
from tinyyolo3.train.options import HeadRules
from tinyyolo3.train.targets import cell_of, predicted_boxes, responsible_anchors


@dataclass(frozen=True)
class LossParts:
    """What is told of a step: one head's, or several together.

    Attributes:
        box: what boxes have of the printed loss.
        objectness: what objectness has.
        classes: what classes have.
        responsible: how often a prediction was made responsible for a truth.
        sum_iou: the IoUs of these predictions with their truths, added up.
    """

    box: float
    objectness: float
    classes: float
    responsible: int
    sum_iou: float

    @property
    def cost(self) -> float:
        """What Darknet prints as the head's loss, for all its pictures."""
        return self.box + self.objectness + self.classes

    @property
    def mean_iou(self) -> float:
        """The mean IoU of responsible predictions with their truths; 0 if there are none."""
        return self.sum_iou / max(self.responsible, 1)

    def __add__(self, other: "LossParts") -> "LossParts":
        """Return the parts of both together."""
        return LossParts(
            self.box + other.box,
            self.objectness + other.objectness,
            self.classes + other.classes,
            self.responsible + other.responsible,
            self.sum_iou + other.sum_iou,
        )


def printed_loss(heads: Sequence[LossParts]) -> float:
    """Return the mean of the heads' costs, which Darknet adds up over a batch's mini-batches."""
    return sum(parts.cost for parts in heads) / len(heads)


def sum_parts(parts: Iterable[LossParts]) -> LossParts:
    """Return the parts of several heads or mini-batches together."""
    return sum(parts, LossParts(0.0, 0.0, 0.0, 0, 0.0))


def loss_parts_reference(
    activated: FloatArray, deltas: FloatArray, truths: Sequence[Truths], rules: HeadRules
) -> LossParts:
    """Return what is told of a head's deltas.

    Args:
        activated, truths, rules: those of `head_deltas_reference`.
        deltas: what it returned.
    """
    squares = np.square(
        split_anchors("yolo", deltas, len(rules.mask), rules.classes), dtype=np.float64
    )
    maps = split_anchors("yolo", activated, len(rules.mask), rules.classes)
    kinds = ("iou", "giou")
    scores: dict[str, list[float]] = {kind: [] for kind in kinds}
    for prediction, truth in zip(maps, truths, strict=True):
        predicted = predicted_boxes(prediction, rules)
        boxes = truth.boxes_cxcywh_unit.astype(predicted.dtype)
        for box, chosen in zip(boxes, responsible_anchors(boxes[:, 2:], rules), strict=True):
            column, row = cell_of(box, predicted.shape[2], predicted.shape[1])
            for kind in kinds:
                found = overlap_scores(kind, predicted[chosen, row, column], box[None])
                scores[kind] += found[:, 0].tolist()
    parts = (squares[:, :, :4].sum(), squares[:, :, 4].sum(), squares[:, :, 5:].sum())
    return make_parts(*parts, len(scores["iou"]), sum(scores["iou"]), sum(scores["giou"]), rules)


def make_parts(
    box: float,
    objectness: float,
    classes: float,
    responsible: int,
    sum_iou: float,
    sum_giou: float,
    rules: HeadRules,
) -> LossParts:
    """Return a head's parts (forward_yolo_layer).

    Args:
        box: Σδ² of boxes.
        objectness: Σδ² of objectness.
        classes: Σδ² of classes.
        responsible: how often a prediction was made responsible for a truth.
        sum_iou: the IoUs of these predictions with their truths, added up,
        sum_giou: and their GIoUs.
        rules: the head's.
    """
    if rules.iou_loss != "mse" and rules.show_details:
        # DARKNET: with an IoU loss the squared deltas of boxes give way to that loss's mean, by
        # the plain IoU for diou and ciou, and obj_normalizer is a factor on all the rest.
        lost = responsible - (sum_giou if rules.iou_loss == "giou" else sum_iou)
        box = rules.iou_normalizer * lost / max(responsible, 1)
        objectness, classes = rules.obj_normalizer * objectness, rules.obj_normalizer * classes
    return LossParts(float(box), float(objectness), float(classes), responsible, float(sum_iou))
