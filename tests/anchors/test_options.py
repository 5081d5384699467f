"""What is pasted into a cfg: rounded anchors, and masks as published cfgs have them."""

import numpy as np
import pytest

from tinyyolo3.anchors import anchors_option, find_anchors, masks, round_anchors
from tinyyolo3.anchors.kmeans import assign_boxes
from tinyyolo3.anchors.options import ROUNDING_LOSS, Head
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.network.build import build_graph

#: yolov3.cfg's.
LINE = "10,13,  16,30,  33,23,  30,61,  62,45,  59,119,  116,90,  156,198,  373,326"
PAIRS = np.array([float(v) for v in LINE.split(",")]).reshape(-1, 2)


def test_the_line_is_as_in_yolov3_cfg() -> None:
    assert anchors_option(PAIRS) == f"anchors = {LINE}"


def test_decimals_are_written_in_full() -> None:
    anchors = np.array([[0.3, 0.00001], [100000.5, 1e16]])
    assert anchors_option(anchors) == "anchors = 0.3,0.00001,  100000.5,10000000000000000"


def test_the_line_is_read_back_as_it_was_meant(tiny_cfg: str) -> None:
    anchors = np.array([[1.25, 2], [3, 4.5], [5, 6.125], [10, 20]])
    lines = tiny_cfg.splitlines()
    cfg = "\n".join(anchors_option(anchors) if "anchors" in line else line for line in lines)
    heads = build_graph(parse_config(cfg)).heads
    assert [head.anchors for head in heads] == [((5, 6.125), (10, 20)), ((1.25, 2), (3, 4.5))]


@pytest.mark.parametrize(
    ("anchors", "heads", "expected"),
    [
        (9, 3, [(6, 7, 8), (3, 4, 5), (0, 1, 2)]),  # yolov3.cfg
        (6, 2, [(3, 4, 5), (0, 1, 2)]),  # yolov3-tiny.cfg, but for its slip in the second mask
        (9, 2, [(5, 6, 7, 8), (0, 1, 2, 3, 4)]),
        (10, 3, [(7, 8, 9), (4, 5, 6), (0, 1, 2, 3)]),
        (2, 2, [(1,), (0,)]),
        (1, 1, [(0,)]),
    ],
)
def test_masks(anchors: int, heads: int, expected: list[tuple[int, ...]]) -> None:
    strides = [32, 16, 8][:heads]
    assert masks(anchors, heads) == [Head(*pair) for pair in zip(strides, expected, strict=True)]


def test_large_anchors_become_whole_pixels() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(4, 0.7, (500, 2)))
    exact = find_anchors(sizes, 3, restarts=2)
    rounded = round_anchors(sizes, exact)
    np.testing.assert_array_equal(rounded.anchors_px, np.round(exact.anchors_px))
    assert rounded.mean_iou == pytest.approx(assign_boxes(sizes, rounded.anchors_px).mean_iou)
    assert rounded.start_ious == exact.start_ious


def test_small_anchors_keep_the_decimals_that_matter() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(1, 0.7, (500, 2)))
    exact = find_anchors(sizes, 3, restarts=2)
    whole = assign_boxes(sizes, np.round(exact.anchors_px)).mean_iou
    rounded = round_anchors(sizes, exact)
    assert whole < exact.mean_iou - ROUNDING_LOSS <= rounded.mean_iou
    assert np.abs(rounded.anchors_px - exact.anchors_px).max() <= 0.05
    assert (rounded.anchors_px == np.round(rounded.anchors_px, 1)).all()


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ([[0.4, 90], [80, 90]], [[0.4, 90], [80, 90]]),  # not 0 x 90
        ([[80.1, 90], [80.2, 90]], [[80.1, 90], [80.2, 90]]),  # not 80 x 90 twice
        ([[0.0000004, 90]], [[0.0000004, 90]]),  # no decimals will do
    ],
)
def test_rounded_anchors_stay_positive_and_different(anchors, expected) -> None:
    # All boxes but one have a size that rounding does not change.
    sizes = np.array([[80.0, 90]] * 5000)
    assert round_anchors(sizes, assign_boxes(sizes, np.array(anchors))).anchors_px.tolist() == (
        expected
    )
