"""A whole network in one launch: the same bits as layer by layer, and no race between blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyyolo3 import load
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda import convolutions, lower, persistent, program
from tinyyolo3.engine.cuda.choose import plan_network
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.engine.cuda.persistent import SHARED_BYTES, spread_buffers
from tinyyolo3.engine.cuda.persistent_structs import Under
from tinyyolo3.engine.cuda.persistent_tasks import TILE, choose_parts
from tinyyolo3.errors import BackendError, KernelError
from tinyyolo3.layers.convolution.cuda_algorithms import Gpu
from tinyyolo3.layers.convolution.cuda_mma_tiles import FP16, INSTANCES, MmaTile, mma_terms
from tinyyolo3.layers.convolution.cuda_tiles import Product
from tinyyolo3.loading import load_on
from tinyyolo3.network import specs
from tinyyolo3.testing.engines import Case, make_case
from tinyyolo3.testing.strategies import seeds

#: The smallest tile whose slices are as long as the kernel's: it adds up in the same order.
SMALL = min(
    (tile for tile in INSTANCES if tile.row_bytes == TILE.row_bytes),
    key=lambda tile: tile.pixels * tile.filters,
)
ACTIVATIONS = ("leaky", "leaky", "linear", "mish")
NET = "[net]\nwidth={width}\nheight={height}\nchannels={channels}\n"
CONVOLUTION = (
    "[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n"
    "activation={activation}\n"
)
HEAD = (
    "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=4,6, 8,8\nclasses=2\nnum=2\n"
)


@contextmanager
def blocks_at_a_time(multiprocessors: int) -> Iterator[None]:
    """Have both engines plan for a GPU of so many multiprocessors, and cut sums alike."""
    gpu = Gpu(multiprocessors=multiprocessors)

    def tile(layer: specs.Convolutional, images: int, *_: Any) -> MmaTile:
        filters, height, width = layer.output_shape
        terms = mma_terms(layer.input_shapes[0][0], layer.size, FP16)
        return replace(
            SMALL, parts=choose_parts(Product(images * height * width, filters, terms), gpu)
        )

    with (
        patch.object(persistent, "gpu_of", lambda _: gpu),
        patch.object(convolutions, "convolution_tile", tile),
        patch.object(lower, "convolution_tile", tile),
    ):
        yield


def check_same(target: Target, case: Case, multiprocessors: int = 132) -> None:
    """Run a network both ways, twice."""
    with blocks_at_a_time(multiprocessors):
        expected = CudaEngine(target, case.parameters, "fp16").forward(case.graph, case.x)
        engine = CudaEngine(target, case.parameters, "fp16", persistent=True)
        for x in (case.x, case.x[::-1], case.x):
            found = engine.forward(case.graph, np.ascontiguousarray(x))
    assert len(expected) == len(found)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@st.composite
def networks(draw: st.DrawFn) -> str:
    """Draw a network of the layers that one launch runs: some blocks and a head or two."""

    def number(most: int, least: int = 1) -> int:
        return draw(st.integers(least, most))

    def convolution(filters: int, size: int, stride: int = 1, groups: int = 1) -> str:
        text = CONVOLUTION.format(
            filters=filters, size=size, stride=stride, activation=draw(st.sampled_from(ACTIVATIONS))
        )
        return text + (f"groups={groups}\n" if groups > 1 else "")

    text = NET.format(width=number(28, 9), height=number(28, 9), channels=number(4))
    filters = draw(st.sampled_from([5, 8, 24, 72]))
    text += convolution(filters, 3, number(2))
    for _ in range(number(4)):
        match draw(st.sampled_from(["plain", "bottleneck", "pool", "spp", "up"])):
            case "plain":
                filters = draw(st.sampled_from([3, 16, 40, 136]))
                text += convolution(filters, draw(st.sampled_from([1, 3, 5])), number(2))
            case "bottleneck":
                text += convolution(filters, 1) + convolution(filters, 3, 1, filters)
                text += convolution(filters, 1)
                text += "[shortcut]\nfrom=-4\nactivation=linear\n"
            case "pool":
                text += f"[maxpool]\nsize={number(3, 2)}\nstride={number(2)}\n"
            case "spp":
                text += "[maxpool]\nsize=3\nstride=1\n[route]\nlayers=-2\n"
                text += "[maxpool]\nsize=5\nstride=1\n[route]\nlayers=-1,-3,-4\n"
                filters *= 3
            case "up":
                below = filters
                filters = draw(st.sampled_from([4, 16]))
                text += convolution(filters, 3, 1) + "[maxpool]\nsize=2\nstride=1\n"
                text += "[route]\nlayers=-1,-3\n[upsample]\nstride=2\n"
                filters += below
    if draw(st.booleans()):
        text += HEAD + "[route]\nlayers=-3\n"
    return text + HEAD


@settings(max_examples=8, deadline=None)
@given(
    cfg=networks(),
    images=st.integers(1, 3),
    multiprocessors=st.sampled_from([1, 5, 132]),
    seed=seeds(),
    order=st.integers(0, 99),
)
def test_a_random_network_has_the_bits_of_its_layers(
    cfg: str, images: int, multiprocessors: int, seed: int, order: int
) -> None:
    check_same(HostTarget("check", order), make_case(cfg, seed, images), multiprocessors)


def chain(width: int, height: int, filters: int = 136) -> Case:
    """A network of several bands and tiles, whose terms are shared by parts."""
    text = NET.format(width=width, height=height, channels=3)
    for size, count in ((3, 16), (3, filters), (1, 24), (3, filters)):
        text += CONVOLUTION.format(filters=count, size=size, stride=1, activation="leaky")
    return make_case(text + HEAD, seed=4, images=2)


def test_parts_of_a_sum_are_added_in_order(target: Target) -> None:
    case = chain(12, 9)
    product = Product(2 * 12 * 9, 24, mma_terms(136, 1, FP16))
    assert choose_parts(replace(product, terms=9 * 136), Gpu()) > 1
    check_same(target, case)


def test_every_order_of_blocks_and_of_threads_gives_the_same_bits() -> None:
    case, found = chain(20, 12, 40), []
    for seed in range(6):
        engine = CudaEngine(HostTarget("fast", seed), case.parameters, "fp16", persistent=True)
        found.append(engine.forward(case.graph, case.x)[0])
    assert all(np.array_equal(y, found[0]) for y in found)


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_a_face_detector_finds_the_same(reference: Path, mode: str) -> None:
    """Whole, from pictures to boxes; two pictures in one batch, and twice."""
    folder = reference / "models/yoloface-50k"
    files = folder / "model.cfg", folder / "model.weights"
    pictures = [reference / "images" / name for name in ("person.png", "dog.png")]
    with blocks_at_a_time(132):
        one, other = (
            load_on(HostTarget(mode), *files, precision="fp16", persistent=p) for p in (True, False)
        )
        for _ in range(2):
            found = one.detect(pictures, threshold=0.05, batch=2)
            expected = other.detect(pictures, threshold=0.05, batch=2)
    assert sum(map(len, expected)) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.boxes_xyxy_px, b.boxes_xyxy_px)
        np.testing.assert_array_equal(a.confidence, b.confidence)


def test_a_detector_of_everything_finds_the_same(reference: Path) -> None:
    folder = reference / "models/yolo-fastest-1.1"
    files = folder / "model.cfg", folder / "model.weights"
    with blocks_at_a_time(132):
        engines = [
            load_on(HostTarget(mode), *files, precision="fp16", persistent=p).network
            for mode, p in (("check", True), ("fast", False))
        ]
        x = np.random.default_rng(1).random((1, *engines[0].graph.input_shape), np.float32)
        found, expected = (network.engine.forward(network.graph, x) for network in engines)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_overflow_is_named(quick_target: Target) -> None:
    case = chain(12, 9)
    own = {name: array.copy() for name, array in case.parameters[1].items()}
    own["biases"][...] = 7e4
    engine = CudaEngine(quick_target, {**case.parameters, 1: own}, "fp16", persistent=True)
    with pytest.raises(BackendError, match=r"layer 1 \[convolutional\]: its numbers exceed 65504"):
        engine.forward(case.graph, case.x)


def test_layers_without_a_form_are_refused_when_the_network_is_loaded(quick_target: Target) -> None:
    text = NET.format(width=16, height=16, channels=3)
    text += CONVOLUTION.format(filters=8, size=3, stride=1, activation="leaky")
    case = make_case(f"{text}[avgpool]\n[scale_channels]\nfrom=-2\n{HEAD}", seed=1)
    engine = CudaEngine(quick_target, case.parameters, "fp16", persistent=True)
    message = r":\d+: layer 1 \[avgpool\]: persistent=True has no form of 'avgpool': leave it out"
    with pytest.raises(BackendError, match=message):
        engine.prepare(case.graph)


def test_a_layer_that_reads_a_head_is_refused(quick_target: Target) -> None:
    text = NET.format(width=16, height=16, channels=3)
    text += CONVOLUTION.format(filters=8, size=3, stride=1, activation="leaky") + HEAD
    case = make_case(f"{text}[maxpool]\nsize=2\nstride=2\n{HEAD}", seed=1)
    engine = CudaEngine(quick_target, case.parameters, "fp16", persistent=True)
    with pytest.raises(BackendError, match=r"has no form of what reads a head's output: leave"):
        engine.prepare(case.graph)


def test_a_route_of_too_many_maps_is_refused(quick_target: Target) -> None:
    text = NET.format(width=16, height=16, channels=3)
    text += 13 * CONVOLUTION.format(filters=8, size=1, stride=1, activation="leaky")
    case = make_case(f"{text}[route]\nlayers={','.join(map(str, range(13)))}\n{HEAD}", seed=1)
    engine = CudaEngine(quick_target, case.parameters, "fp16", persistent=True)
    with pytest.raises(BackendError, match="has no room for 13 maps that a layer reads: leave"):
        engine.program(quick_target, case.graph, 1)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_other_precisions_are_refused(tiny_model: Any, precision: str) -> None:
    files = tiny_model.cfg, tiny_model.weights
    message = rf'^persistent=True needs precision="fp16", not \'{precision}\'$'
    with pytest.raises(BackendError, match=message):
        load_on(HostTarget("fast"), *files, precision=precision, persistent=True)
    with pytest.raises(BackendError, match=message):
        load(*files, precision=precision, persistent=True)


#: What must not be left out, each with what leaves it out.
NEEDED = {
    "windows": (persistent, "bands_under", lambda _: Under.SAME_PIXELS),
    "waits": (persistent, "overlap", lambda *_: False),
    "memory of its own": (program, "spread_buffers", lambda plan: plan),
}


@pytest.mark.parametrize("what", NEEDED)
def test_check_mode_finds_what_a_table_lacks(what: str) -> None:
    """With a block for each item."""
    case = chain(12, 9, 40)
    engine = CudaEngine(HostTarget("check"), case.parameters, "fp16", persistent=True)
    with (
        patch.object(*NEEDED[what]),
        pytest.raises(KernelError, match=r"race: .*nothing orders the two blocks"),
    ):
        engine.forward(case.graph, case.x)


def test_no_map_has_the_memory_of_another() -> None:
    case = chain(12, 9)
    plan = plan_network(case.graph, 2, None, FP16)
    spread = spread_buffers(plan)
    ends = [buffer.offset + buffer.bytes for buffer in spread.buffers]
    assert [buffer.offset for buffer in spread.buffers] == [0, *ends[:-1]]
    assert spread.arena_bytes == ends[-1] > plan.arena_bytes


def test_blocks_fit_the_multiprocessors_that_have_room() -> None:
    assert TILE.blocks_per_sm * (SHARED_BYTES + 1024) <= 164 << 10  # sm_80's
