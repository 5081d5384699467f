"""Blocked maps to plain ones: transposed in vectors, whatever is left one by one."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.layout import unpack_map_job, unpack_pixels
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.parallel import compiled
from tinyyolo3.testing.batches import run_lowered
from tinyyolo3.testing.memory import Side, can_guard, guarded_floats, run_in_child


@compiled
def unpack(n: Any) -> None:
    unpack_pixels(n[0], n[1], n[2], n[3], n[4])


def check_block(pixels: int, channels: int, gap: int, side: Side) -> None:
    """All of a block's numbers differ; planes lie apart by `gap` numbers that must stay."""
    source = guarded_floats(pixels * LANES, side).reshape(pixels, LANES)
    source[:] = np.arange(source.size).reshape(source.shape)
    plane = pixels + gap
    target = guarded_floats(channels * plane - gap, side)
    numbers = (source.ctypes.data, pixels, target.ctypes.data, 4 * plane, channels)
    unpack(np.array(numbers, np.int64))
    planes = np.append(target, np.full(gap, np.nan, np.float32)).reshape(channels, plane)
    np.testing.assert_array_equal(planes[:, :pixels], source.T[:channels])
    assert np.isnan(planes[:, pixels:]).all()


@pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")
@pytest.mark.parametrize("side", ["begin", "end"])
def test_some_pixels_of_a_block(side: Side) -> None:
    def check() -> None:
        counts = (1, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES - 1)
        for pixels in counts:
            for channels in range(1, LANES + 1):
                for gap in (0, 1):
                    check_block(pixels, channels, gap, side)

    unpack(np.zeros(5, np.int64))  # no pixel: compiled in the parent
    run_in_child(check)


def check_map(channels: int, pixels: int, parts: int, side: Side) -> None:
    blocks = -(-channels // LANES)
    source = guarded_floats(blocks * pixels * LANES, side).reshape(blocks, pixels, LANES)
    source[:] = np.arange(source.size).reshape(source.shape)
    target = guarded_floats(channels * pixels, side).reshape(channels, pixels)
    record = {
        "source": source.ctypes.data, "source_stride": pixels * BLOCK, "channels": channels,
        "pixels": pixels, "target": target.ctypes.data, "parts": parts,
    }  # fmt: skip
    run_lowered([Lowered(unpack_map_job, record, blocks * parts)])
    expected = source.transpose(0, 2, 1).reshape(-1, pixels)[:channels]
    np.testing.assert_array_equal(target, expected)


@pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")
@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 2 * LANES + 3),
    pixels=st.integers(1, 5 * LANES),
    parts=st.integers(1, 4),
    side=st.sampled_from(["begin", "end"]),
)
def test_a_map_in_parts(channels: int, pixels: int, parts: int, side: Side) -> None:
    run_in_child(partial(check_map, channels, pixels, min(parts, pixels), side))
