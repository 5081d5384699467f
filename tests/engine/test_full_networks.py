"""The four full-size networks, at a reduced input, against the float64 reference."""

from collections.abc import Callable

import numpy as np
import pytest

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.darknet.config import parse_config
from tinyyolo3.engine.eager import run_graph
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.fold import fold_graph, fold_parameters
from tinyyolo3.network.parameters import cast_parameters
from tinyyolo3.testing.architectures import (
    darknet53_config,
    yolov3_config,
    yolov3_spp_config,
    yolov3_tiny_config,
)
from tinyyolo3.testing.tolerances import NETWORK_FLOAT32
from tinyyolo3.testing.weights import random_weights

#: Width and height differ, and YOLOv3's smallest map is 2 x 3.
WIDTH, HEIGHT = 96, 64


@pytest.mark.parametrize(
    "write", [darknet53_config, yolov3_config, yolov3_spp_config, yolov3_tiny_config]
)
def test_both_backends_equal_the_float64_reference(write: Callable[[int, int], str]) -> None:
    graph = build_graph(parse_config(write(WIDTH, HEIGHT)))
    parameters = random_weights(graph, seed=3)
    x = np.random.default_rng(4).random((2, 3, HEIGHT, WIDTH), np.float32)
    wanted = graph.output_indices
    exact = run_graph(
        graph, cast_parameters(parameters, np.float64), REFERENCE, x.astype(np.float64), wanted
    )
    folded = fold_parameters(graph, parameters)
    for backend in (REFERENCE, CPU):
        found = run_graph(fold_graph(graph), folded, backend, x, wanted)
        for index in wanted:
            assert found[index].dtype == np.float32
            scale = np.abs(exact[index]).max()
            error = np.abs(found[index] - exact[index]).max() / scale
            assert error < NETWORK_FLOAT32, (backend.name, index, error)
