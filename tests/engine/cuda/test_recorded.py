"""Launches that are captured: what Python may do meanwhile."""

import gc
from typing import Any

import numpy as np

from tinyyolo3.cuda.maps import download_map, empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.recorded import Recorded
from tinyyolo3.layers.upsample import upsample_forward_cuda
from tinyyolo3.testing.kernels import kernel_map


def test_garbage_may_be_collected_while_launches_are_recorded(target: Target) -> None:
    """An engine, its graphs and streams are one cycle, which Python frees whenever it likes."""
    image = kernel_map((1, 8, 4, 6), 1)
    expected = image.repeat(2, axis=2).repeat(2, axis=3)
    x = upload_map(target, image)
    y = empty_map(target, 1, 8, 12, 8)

    def forget_one() -> None:
        other = target.fork()
        here = empty_map(other, 1, 8, 12, 8)
        recorded = Recorded(other, lambda: upsample_forward_cuda(other, x, here, stride=2))
        recorded()
        recorded()
        other.synchronize()
        cycle: list[Any] = [recorded, other.pinned(5)]
        cycle.append(cycle)

    runs: list[int] = []

    def launch() -> None:
        if len(runs) == 1:  # on a GPU, what is captured
            gc.collect()
        runs.append(1)
        upsample_forward_cuda(target, x, y, stride=2)

    gc.disable()
    try:
        forget_one()
        recorded = Recorded(target, launch)
        recorded()
        recorded()
    finally:
        gc.enable()
    assert np.array_equal(download_map(target, y), expected)
