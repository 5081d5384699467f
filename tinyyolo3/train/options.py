"""What a cfg says about training: the batch, the optimizer and each head's rules.

Options of AlexeyAB's that change what is learnt and are not followed here are refused rather than
passed over: the result would silently be another one than Darknet's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tinyyolo3.darknet.config import Config, Section
from tinyyolo3.errors import InputError
from tinyyolo3.network.graph import Graph
from tinyyolo3.network.specs import Yolo
from tinyyolo3.train.iou_loss import BOX_LOSSES, IOU_KINDS
from tinyyolo3.train.schedule import Schedule, read_schedule

#: Options that change the step, and the values of each that are followed (parser.c,
#: parse_net_options, parse_yolo, parse_convolutional).
_NET_FOLLOWED = {
    "adam": ("0",),
    "adversarial_lr": ("0",),
    "badlabels_rejection_percentage": ("0",),
    "dynamic_minibatch": ("0",),
    "ema_alpha": ("0", "0.0"),
    "equidistant_point": ("0",),
    "num_sigmas_reject_badlabels": ("0",),
    "seq_scales": (),
    "sequential_subdivisions": (),
    "time_steps": ("1",),
    "weights_reject_freq": ("0",),
}
_LAYER_FOLLOWED = {
    "batch_normalize": ("0", "1"),  # 2 normalizes across mini-batches
    "burnin_update": ("0",),
    "dont_update": ("0",),
    "dontload": ("0",),
    "dontloadscales": ("0",),
    "onlyforward": ("0",),
    "train_only_bn": ("0",),
}
_HEAD_FOLLOWED: dict[str, tuple[str, ...]] = {
    "delta_normalizer": ("1", "1.0"),  # AlexeyAB's CPU build ignores it, the CUDA build does not
    "iou_loss": BOX_LOSSES,
    "iou_thresh_kind": IOU_KINDS,
    "map": (),
    "new_coords": ("0",),
}

#: How deltas are taken, for `read_head_rules`:
#:
#: - ``darknet``: as Darknet takes them, each of its quirks included.
#: - ``gradient``: as minus the gradient by the logits of the loss that the options stand for.
#: - ``paper``: so too, with λ_coord = 5 and λ_noobj = 0.5 (Redmon et al., You Only Look Once, 2016,
#:   section 2.2, equation 3).
#:
#: `tinyyolo3.train.loss` has the equations.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "darknet": {},
    "gradient": {"exact": True},
    "paper": {"exact": True, "lambda_coord": 5.0, "lambda_noobj": 0.5},
}


@dataclass(frozen=True)
class HeadRules:
    """What decides a [yolo] head's deltas; `tinyyolo3.train.loss` has the equations.

    Attributes:
        anchors_px: (width, height) of *all* anchors of the section, px of the network's input.
        mask: which of them are this head's.
        classes: their number.
        network_size_px: (width, height) of the network's input.
        ignore_thresh: above this IoU with a truth, a prediction's objectness is left alone.
        truth_thresh: above this IoU with a truth, a prediction is made responsible for it.
        iou_thresh: above this IoU of sizes, an anchor becomes responsible besides the best one.
        iou_normalizer: the factor on the deltas of boxes.
        obj_normalizer: the factor on the deltas of objectness.
        cls_normalizer: the factor on the deltas of classes; Darknet heeds it only with
            `class_multipliers`, and for the truth's own class.
        iou_loss: of boxes, one of `BOX_LOSSES`.
        iou_thresh_kind: the kind of IoU that `iou_thresh` is compared with, one of `IOU_KINDS`.
        max_delta: bound on the deltas of a box by one truth, unless `iou_loss` is ``mse``.
        label_smooth_eps: how far class targets move from 0 and 1 towards ½.
        objectness_smooth: whether a prediction above `ignore_thresh` learns its IoU as objectness.
        focal_loss: whether the deltas of classes are weighed by how improbable the truth's is.
        class_multipliers: factors on what truths of each class teach; none is one of 1 for all.
        show_details: whether Darknet's printed loss has the IoU losses themselves in it.
        scale_x_y: the head's, by which the gradient of the centre is scaled if `exact`.
        exact: whether deltas are minus the gradient of a loss, rather than Darknet's.
        lambda_coord: λ_coord, a factor on the deltas of boxes.
        lambda_noobj: λ_noobj, a factor on the objectness of those that learn to be no object.
    """

    anchors_px: tuple[tuple[float, float], ...]
    mask: tuple[int, ...]
    classes: int
    network_size_px: tuple[int, int]
    ignore_thresh: float = 0.5
    truth_thresh: float = 1.0
    iou_thresh: float = 1.0
    iou_normalizer: float = 0.75
    obj_normalizer: float = 1.0
    cls_normalizer: float = 1.0
    iou_loss: str = "mse"
    iou_thresh_kind: str = "iou"
    max_delta: float = math.inf
    label_smooth_eps: float = 0.0
    objectness_smooth: bool = False
    focal_loss: bool = False
    class_multipliers: tuple[float, ...] = ()
    show_details: bool = True
    scale_x_y: float = 1.0
    exact: bool = False
    lambda_coord: float = 1.0
    lambda_noobj: float = 1.0


@dataclass(frozen=True)
class TrainingOptions:
    """What decides a step besides the network.

    Attributes:
        mini_batch: pictures of one forward and backward pass.
        subdivisions: such passes before each update.
        momentum: what is kept of an update for the next one.
        decay: of the weights, for each picture.
        schedule: of the learning rate.
    """

    mini_batch: int
    subdivisions: int
    momentum: float
    decay: float
    schedule: Schedule

    @property
    def batch(self) -> int:
        """Pictures of one update."""
        return self.mini_batch * self.subdivisions


def read_training_options(config: Config) -> TrainingOptions:
    """Read a cfg's [net], and check that its layers ask for nothing that is not followed.

    Raises:
        ConfigError: an option is out of range or not supported, with its line.
    """
    net = config.net
    refuse_others(net, _NET_FOLLOWED)
    for section in config.layers:
        refuse_others(section, _LAYER_FOLLOWED)
    batch = net.integer("batch", 1, low=1)
    subdivisions = net.integer("subdivisions", 1, low=1)
    if subdivisions > batch:
        raise net.error(f"subdivisions={subdivisions} exceed batch={batch}", "subdivisions")
    return TrainingOptions(
        # DARKNET: an integer division; with a remainder, an update has fewer pictures than batch=.
        mini_batch=batch // subdivisions,
        subdivisions=subdivisions,
        momentum=net.number("momentum", 0.9, low=0.0, high=1.0),
        decay=net.number("decay", 0.0001, low=0.0, high=1e6),
        schedule=read_schedule(net),
    )


def read_head_rules(graph: Graph, preset: str = "darknet") -> Mapping[int, HeadRules]:
    """Return the rules of each [yolo] head by its layer's index, for the graph's input size.

    Args:
        graph: the network.
        preset: how deltas are taken, one of `PRESETS`.

    Raises:
        ConfigError: an option is out of range or not supported, with its line.
        InputError: there is no such preset.
    """
    if preset not in PRESETS:
        raise InputError(f"preset must be {', '.join(PRESETS)}, not {preset!r}")
    return {
        layer.index: replace(
            _read_rules(graph.config.layers[layer.index], layer, graph.input_shape, preset),
            **PRESETS[preset],
        )
        for layer in graph.layers
        if isinstance(layer, Yolo)
    }


def _read_rules(
    section: Section, head: Yolo, input_shape: tuple[int, int, int], preset: str
) -> HeadRules:
    """Read a [yolo] section; what it does not say has AlexeyAB's defaults (parse_yolo)."""
    refuse_others(section, _HEAD_FOLLOWED)
    if preset != "darknet" and section.flag("focal_loss"):
        text = f"{section.quote('focal_loss')} is of no loss's gradient, so not of preset {preset}"
        raise section.error(text, "focal_loss")
    numbers = section.numbers("anchors")
    total = section.integer("num", 1)
    max_delta = section.number("max_delta", math.inf, low=0.0, high=math.inf)
    return HeadRules(
        anchors_px=tuple((numbers[2 * n], numbers[2 * n + 1]) for n in range(total)),
        mask=head.mask,
        classes=head.classes,
        network_size_px=(input_shape[2], input_shape[1]),
        ignore_thresh=section.number("ignore_thresh", 0.5, low=0.0, high=1e6),
        truth_thresh=section.number("truth_thresh", 1.0, low=0.0, high=1e6),
        iou_thresh=section.number("iou_thresh", 1.0, low=0.0, high=1e6),
        # DARKNET: .75 if the cfg says nothing, where pjreddie's build has no such factor.
        iou_normalizer=section.number("iou_normalizer", 0.75, low=0.0, high=1e6),
        obj_normalizer=section.number("obj_normalizer", 1.0, low=0.0, high=1e6),
        cls_normalizer=section.number("cls_normalizer", 1.0, low=0.0, high=1e6),
        iou_loss=section.text("iou_loss", "mse"),
        iou_thresh_kind=section.text("iou_thresh_kind", "iou"),
        max_delta=max_delta,
        label_smooth_eps=section.number("label_smooth_eps", 0.0, low=0.0, high=1.0),
        objectness_smooth=section.flag("objectness_smooth"),
        focal_loss=section.flag("focal_loss"),
        class_multipliers=_read_class_multipliers(section, head.classes, max_delta),
        show_details=section.integer("show_details", 1) != 0,
        scale_x_y=head.scale_x_y,
    )


def _read_class_multipliers(section: Section, classes: int, most: float) -> tuple[float, ...]:
    """Return what makes up for rare classes: the largest count over each (parser.c).

    Source: get_classes_multipliers.
    """
    name = "counters_per_class"
    if name not in section.options:
        return ()
    counts = [max(count, 1) for count in section.integers(name)]
    if len(counts) != classes:
        raise section.error(f"{section.quote(name)} must have {classes} numbers, one a class", name)
    # DARKNET: max_delta, a bound on deltas, bounds these too.
    return tuple(min(max(counts) / count, most) for count in counts)


def refuse_others(section: Section, followed: Mapping[str, tuple[str, ...]]) -> None:
    """Check that options of a section, where they are there, have values that are followed.

    Args:
        section: of a cfg.
        followed: by option, the texts of the values that are; none if it may not be there.

    Raises:
        ConfigError: one has another value, with its line.
    """
    for name, values in followed.items():
        if name in section.options and section.options[name].text not in values:
            only = f"; only {name}={' or '.join(values)} is" if values else ""
            text = f"{section.quote(name)} is not supported in training{only}"
            raise section.error(text, name)
