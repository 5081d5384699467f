"""Whole rows of depthwise convolutions: borders, groups that overlap, output in bfloat16."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3.engine.cpu.arithmetic import HALF_BLOCK, HAS_BFLOAT16
from tinyyolo3.engine.cpu.depthwise import depthwise_job
from tinyyolo3.engine.cpu.depthwise_rows import RUN, has_row_kernel
from tinyyolo3.engine.cpu.lowering import Lowered
from tinyyolo3.engine.cpu.packing import blocks, pack_biases, pack_depthwise
from tinyyolo3.engine.cpu.vectors import BLOCK, LANES
from tinyyolo3.network import specs
from tinyyolo3.testing.batches import run_lowered
from tinyyolo3.testing.engines import Case, layer_case
from tinyyolo3.testing.memory import Side, can_guard, guarded_copy, guarded_floats, run_in_child
from tinyyolo3.testing.oracles import bfloat16_oracle
from tinyyolo3.testing.strategies import seeds

WINDOWS = ((3, 1), (3, 2), (5, 1))


def depthwise(
    channels: int, sides: tuple[int, int], window: tuple[int, int, int], seed: int
) -> Case:
    """Return a layer of a (size, stride, padding) window."""
    size, stride, padding = window
    section = f"[convolutional]\nfilters={channels}\ngroups={channels}\nsize={size}\n"
    section += f"stride={stride}\npadding={padding}\nactivation=leaky\n"
    return layer_case(section, (channels, *sides), seed)


def layer_of(case: Case) -> specs.Convolutional:
    (layer,) = case.graph.layers
    assert isinstance(layer, specs.Convolutional)
    return layer


def run_rows(case: Case, bands: int, side: Side, rounded: bool = False) -> np.ndarray:
    """Return the output, the operation's memory being exactly its maps, between guard pages."""
    layer, parameters = layer_of(case), case.parameters[0]
    channels, height, width = layer.input_shapes[0]
    _, out_height, out_width = layer.output_shape
    count = blocks(channels)
    source = guarded_floats(count * height * width * LANES, side, fill=0.0)
    padded = np.zeros((count * LANES, height * width), np.float32)
    padded[:channels] = case.x[0].reshape(channels, -1)
    source.reshape(count, -1, LANES)[:] = padded.reshape(count, LANES, -1).swapaxes(1, 2)
    weights = guarded_copy(pack_depthwise(parameters["weights"]), side)
    biases = guarded_copy(pack_biases(parameters["biases"]), side)
    pixel = HALF_BLOCK if rounded else BLOCK
    target = guarded_floats(count * out_height * out_width * pixel // 4, side)
    record = {
        "source": source.ctypes.data, "source_stride": height * width * BLOCK,
        "height": height, "width": width, "out_height": out_height, "out_width": out_width,
        "size": layer.size, "stride_y": layer.stride[0], "stride_x": layer.stride[1],
        "dilation": 1, "padding": layer.padding, "blocks": count, "bands": bands,
        "weights": weights.ctypes.data, "target": target.ctypes.data,
        "target_stride": out_height * out_width * pixel, "target_pixel": pixel,
        "bias": biases.ctypes.data, "slope": 0.1, "whole_rows": 1,
    }  # fmt: skip
    run_lowered([Lowered(depthwise_job, record, count * bands)])
    if rounded:
        target = (target.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    lanes = target.reshape(count, -1, LANES).swapaxes(1, 2).reshape(-1, out_height, out_width)
    return np.array(lanes[:channels])


def check_rows(case: Case, bands: int, side: Side) -> None:
    found = run_rows(case, bands, side)
    bound = case.sum_bound(layer_of(case).size ** 2 + 1)[0]
    assert (np.abs(found - case.exact()[0][0]) <= bound).all()
    if HAS_BFLOAT16:
        rounded = run_rows(case, bands, side, rounded=True)
        np.testing.assert_array_equal(rounded, bfloat16_oracle(found))


@pytest.mark.skipif(not can_guard(), reason="needs Linux's mprotect and fork")
@pytest.mark.parametrize(("size", "stride"), WINDOWS)
def test_rows_keep_to_their_maps_and_equal_the_reference(size: int, stride: int) -> None:
    _ = depthwise_job.address  # compiled in the parent

    @settings(max_examples=20, deadline=None)
    @given(
        channels=st.integers(2, 2 * LANES + 3),
        height=st.integers(1, 7),
        out_width=st.integers(RUN, 3 * RUN + 1),
        padding=st.integers(0, size // 2),
        bands=st.integers(1, 3),
        side=st.sampled_from(["begin", "end"]),
        seed=seeds(),
    )
    def check(
        channels: int, height: int, out_width: int, padding: int, bands: int, side: Side, seed: int
    ) -> None:
        sides = (max(height, size - 2 * padding), (out_width - 1) * stride + size - 2 * padding)
        case = depthwise(channels, sides, (size, stride, padding), seed)
        layer = layer_of(case)
        assert layer.output_shape[2] == out_width
        assert has_row_kernel(layer)
        run_in_child(partial(check_rows, case, min(bands, layer.output_shape[1]), side))

    check()


@pytest.mark.parametrize(
    ("window", "width", "has"),
    [
        *(((3, 1, 1), RUN, True), ((3, 1, 1), RUN - 1, False), ((3, 1, 0), RUN + 1, False)),
        *(((3, 2, 1), 2 * RUN - 1, True), ((3, 2, 1), 2 * RUN - 2, False)),
        *(((3, 1, 2), 2 * RUN, False), ((5, 1, 2), RUN, True), ((5, 1, 3), 2 * RUN, False)),
        *(((5, 2, 2), 4 * RUN, False), ((3, 3, 1), 4 * RUN, False), ((4, 1, 1), 2 * RUN, False)),
    ],
)
def test_which_layers_have_a_kernel(window: tuple[int, int, int], width: int, has: bool) -> None:
    assert has_row_kernel(layer_of(depthwise(4, (6, width), window, seed=1))) == has
