"""The cfgs that the project writes itself are those of the published networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tinyyolo3.darknet.config import parse_config, read_config
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.summary import summarize
from tinyyolo3.testing.architectures import (
    darknet53_config,
    yolov3_config,
    yolov3_spp_config,
    yolov3_tiny_config,
)

#: Parameters and boxes at the usual size, as published with the networks.
PUBLISHED = [
    (darknet53_config, "darknet53", 256, 41_645_640, 0),
    (yolov3_config, "yolov3", 416, 62_001_757, 10_647),
    (yolov3_spp_config, "yolov3-spp", 608, 63_052_381, 22_743),
    (yolov3_tiny_config, "yolov3-tiny", 416, 8_858_734, 2_535),
]


@pytest.mark.parametrize(("write", "name", "side", "parameters", "boxes"), PUBLISHED)
def test_the_written_cfg_has_the_published_size(
    write: Callable[[int, int], str], name: str, side: int, parameters: int, boxes: int
) -> None:
    summary = summarize(build_graph(parse_config(write(side, side), name)))
    assert (summary.parameters, summary.boxes) == (parameters, boxes)


@pytest.mark.parametrize(("write", "name", "side", "parameters", "boxes"), PUBLISHED)
def test_the_written_cfg_is_darknets_own(
    write: Callable[[int, int], str],
    name: str,
    side: int,
    parameters: int,
    boxes: int,
    reference: Path,
) -> None:
    del parameters, boxes
    theirs = build_graph(read_config(reference / f"cfg/{name}.cfg"), width=side, height=side)
    ours = build_graph(parse_config(write(side, side), name))
    assert [replace(layer, line=0) for layer in ours.layers] == [
        replace(layer, line=0) for layer in theirs.layers
    ]


def test_yolov3_is_what_everybody_says_it_is() -> None:
    summary = summarize(build_graph(parse_config(yolov3_config())))
    assert summary.trainable == 61_949_149
    assert summary.statistics == 52_608
    assert round(summary.flop / 1e9, 2) == 65.86
