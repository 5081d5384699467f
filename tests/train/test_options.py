"""What a cfg says about training, and what it may not say."""

import math
from dataclasses import replace

import pytest

from tinyyolo3.darknet.config import parse_config
from tinyyolo3.errors import ConfigError, InputError
from tinyyolo3.network.build import build_graph
from tinyyolo3.train.options import HeadRules, read_head_rules, read_training_options
from tinyyolo3.train.schedule import Schedule

CFG = """\
[net]
width=64
height=32
{net}
[convolutional]
filters=14
size=1
activation=linear
{convolution}
[yolo]
mask=1,2
anchors=4,6, 8,9, 12,16, 99,99
classes=2
num=3
{head}
"""


def config(net: str = "", convolution: str = "", head: str = ""):
    return parse_config(CFG.format(net=net, convolution=convolution, head=head), "x.cfg")


def test_a_cfg_that_says_nothing_has_darknets_defaults():
    options = read_training_options(config())
    assert (options.batch, options.mini_batch) == (1, 1)
    assert (options.momentum, options.decay) == (0.9, 0.0001)
    assert options.schedule == Schedule("constant", 0.001)


def test_what_net_says_is_read():
    options = read_training_options(config("batch=8\nsubdivisions=2\nmomentum=.5\ndecay=0"))
    assert (options.mini_batch, options.subdivisions, options.batch) == (4, 2, 8)
    assert (options.momentum, options.decay) == (0.5, 0)


def test_a_batch_that_subdivisions_do_not_divide_loses_the_remainder():
    options = read_training_options(config("batch=7\nsubdivisions=3"))
    assert (options.mini_batch, options.batch) == (2, 6)


def test_a_head_knows_all_anchors_and_the_inputs_size():
    graph = build_graph(config(), width=128)
    anchors = ((4.0, 6.0), (8.0, 9.0), (12.0, 16.0))
    assert read_head_rules(graph) == {1: HeadRules(anchors, (1, 2), 2, (128, 32))}


def test_iou_normalizer_is_three_quarters_if_the_cfg_says_nothing():
    (rules,) = read_head_rules(build_graph(config())).values()
    assert (rules.iou_normalizer, rules.obj_normalizer) == (0.75, 1.0)
    assert (rules.ignore_thresh, rules.truth_thresh, rules.iou_thresh) == (0.5, 1.0, 1.0)


def test_what_a_head_says_is_read():
    head = "ignore_thresh=.7\ntruth_thresh=.9\niou_thresh=.2\niou_normalizer=.07\nobj_normalizer=2"
    (rules,) = read_head_rules(build_graph(config(head=head))).values()
    assert (rules.ignore_thresh, rules.truth_thresh, rules.iou_thresh) == (0.7, 0.9, 0.2)
    assert (rules.iou_normalizer, rules.obj_normalizer) == (0.07, 2.0)


@pytest.mark.parametrize(
    ("place", "option", "message"),
    [
        ("net", "adam=1", r"x.cfg:4 \[net\] adam=1 is not supported in training; only adam=0 is"),
        ("net", "subdivisions=2", r"subdivisions=2 exceed batch=1"),
        ("net", "batch=0", "batch=0 must be from 1"),
        ("convolution", "dont_update=1", r"x.cfg:9 \[convolutional\] dont_update=1 is not"),
        ("convolution", "batch_normalize=2", "only batch_normalize=0 or 1 is"),
        (
            "head",
            "iou_loss=siou",
            r"x.cfg:15 \[yolo\] iou_loss=siou .* only iou_loss=mse or iou or",
        ),
        (
            "head",
            "iou_thresh_kind=mse",
            "iou_thresh_kind=mse is not .* only iou_thresh_kind=iou or",
        ),
        ("head", "delta_normalizer=.5", "delta_normalizer=.5 is not supported in training"),
        ("head", "counters_per_class=3", "counters_per_class=3 must have 2 numbers, one a class"),
        ("head", "map=x", "map=x is not supported in training$"),
        ("head", "ignore_thresh=-1", "ignore_thresh=-1 must be from 0"),
    ],
)
def test_an_option_that_would_change_what_is_learnt_is_refused(place, option, message):
    own = config(**{place: option})
    with pytest.raises(ConfigError, match=message):
        read_training_options(own), read_head_rules(build_graph(own))


def test_a_head_that_says_nothing_has_alexeyabs_defaults():
    (rules,) = read_head_rules(build_graph(config())).values()
    found = (rules.iou_loss, rules.iou_thresh_kind, rules.cls_normalizer, rules.max_delta)
    assert found == ("mse", "iou", 1.0, math.inf)
    assert (rules.label_smooth_eps, rules.class_multipliers, rules.scale_x_y) == (0.0, (), 1.0)
    flags = (rules.objectness_smooth, rules.focal_loss, rules.show_details, rules.exact)
    assert flags == (False, False, True, False)
    assert (rules.lambda_coord, rules.lambda_noobj) == (1.0, 1.0)


def test_what_decides_a_heads_loss_is_read():
    head = """iou_loss=ciou
iou_thresh_kind=giou
cls_normalizer=.5
max_delta=2
label_smooth_eps=.1
objectness_smooth=1
focal_loss=1
show_details=0
scale_x_y=1.2"""
    (rules,) = read_head_rules(build_graph(config(head=head))).values()
    assert (rules.iou_loss, rules.iou_thresh_kind) == ("ciou", "giou")
    assert (rules.cls_normalizer, rules.max_delta, rules.label_smooth_eps) == (0.5, 2.0, 0.1)
    assert (rules.objectness_smooth, rules.focal_loss, rules.show_details) == (True, True, False)
    assert rules.scale_x_y == 1.2


@pytest.mark.parametrize(
    ("head", "multipliers"),
    [
        ("counters_per_class=30,10", (1.0, 3.0)),
        ("counters_per_class=0,8", (8.0, 1.0)),
        ("counters_per_class=1,8\nmax_delta=5", (5.0, 1.0)),
    ],
)
def test_counters_per_class_make_up_for_rare_classes_up_to_max_delta(head, multipliers):
    (rules,) = read_head_rules(build_graph(config(head=head))).values()
    assert rules.class_multipliers == multipliers


def test_presets_change_how_deltas_are_taken_and_nothing_else():
    graph = build_graph(config(head="iou_loss=giou\niou_normalizer=.3"))
    (darknet,), (gradient,), (paper,) = (
        read_head_rules(graph, preset).values() for preset in ("darknet", "gradient", "paper")
    )
    assert (darknet,) == tuple(read_head_rules(graph).values())
    assert gradient == replace(darknet, exact=True)
    assert paper == replace(gradient, lambda_coord=5.0, lambda_noobj=0.5)


def test_a_preset_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="preset must be darknet, gradient, paper, not 'v9'"):
        read_head_rules(build_graph(config()), "v9")


def test_focal_loss_is_darknets_alone():
    graph = build_graph(config(head="focal_loss=1"))
    with pytest.raises(
        ConfigError, match=r"x.cfg:15 \[yolo\] focal_loss=1 is of no loss's gradient"
    ):
        read_head_rules(graph, "paper")
