"""Bugs planted in copies of the kernels: check mode catches each and names the line."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tinyyolo3.boxes.call_cuda import CallBuffers
from tinyyolo3.boxes.decode import HeadGeometry
from tinyyolo3.boxes.decode_cuda import device_heads
from tinyyolo3.boxes.nms_cuda import BoxBuffers, detect_boxes_cuda
from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.maps import empty_map, upload_map
from tinyyolo3.cuda.target import Target
from tinyyolo3.engine.cuda.engine import CudaEngine
from tinyyolo3.image.geometry import resize_geometry
from tinyyolo3.image.resize_cuda import FRAME, fill_frames, network_input_cuda
from tinyyolo3.layers.avgpool import avgpool_forward_cuda
from tinyyolo3.layers.batchnorm import (
    batchnorm_statistics_cuda,
    batchnorm_statistics_workspace,
)
from tinyyolo3.layers.connected import connected_forward_cuda
from tinyyolo3.layers.convolution.cuda import (
    conv_forward_blocked_cuda,
    new_workspace,
    pack_weights,
    workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_mma import conv_forward_mma_cuda, pack_mma_weights
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    FP16,
    STREAM_K_INSTANCES,
    mma_workspace_floats,
)
from tinyyolo3.layers.convolution.cuda_tiled import conv_forward_tiled_cuda
from tinyyolo3.layers.convolution.cuda_tiles import INSTANCES, Product
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import WgmmaTile
from tinyyolo3.layers.maxpool import maxpool_forward_cuda
from tinyyolo3.layers.route import route_forward_cuda
from tinyyolo3.layers.softmax import softmax_forward_cuda
from tinyyolo3.layers.upsample import upsample_forward_cuda
from tinyyolo3.testing.engines import make_case
from tinyyolo3.testing.first_layers import FirstCase
from tinyyolo3.testing.planted import Bug
from tinyyolo3.testing.strategies import normal_map


def blocked(target: Target) -> None:
    """A convolution of two tiles of pixels and two of filters, its terms shared by two blocks."""
    tile = min(INSTANCES, key=lambda tile: tile.pixels * tile.filters)
    tile = replace(tile, parts=2)
    x = upload_map(target, normal_map((1, 12, 9, 10), np.float32, 1))
    weights = normal_map((tile.filters + 4, 12, 3, 3), np.float32, 2)
    conv_forward_blocked_cuda(
        *(target, x, target.upload(pack_weights(weights))),
        target.upload(np.zeros(len(weights), np.float32)),
        empty_map(target, 1, 9, 10, len(weights)),
        size=3,
        stride=(1, 1),
        padding=1,
        tile=tile,
        workspace=new_workspace(target, workspace_floats(Product(90, len(weights), 108), tile)),
    )


def warpgroups(target: Target) -> None:
    """A convolution of two tiles of pixels, two warpgroups each way, and nine slices."""
    tile = WgmmaTile(128, 128, 2, 6, 1)
    x = upload_map(target, normal_map((1, 64, 9, 16), np.float32, 1).astype(np.float16))
    weights = normal_map((128, 64, 3, 3), np.float32, 2)
    conv_forward_mma_cuda(
        *(target, x, target.upload(pack_mma_weights(weights, FP16))),
        target.upload(np.zeros(len(weights), np.float32)),
        empty_map(target, 1, 9, 16, len(weights), None, np.float16),
        precision=FP16,
        size=3,
        stride=(1, 1),
        padding=1,
        tile=tile,
    )


def tiled(target: Target) -> None:
    x = upload_map(target, normal_map((1, 8, 9, 10), np.float32, 1))
    packed = target.upload(pack_weights(normal_map((40, 8, 3, 3), np.float32, 2)))
    out, biases = empty_map(target, 1, 9, 10, 40), target.upload(np.zeros(40, np.float32))
    conv_forward_tiled_cuda(target, x, packed, biases, out, size=3, stride=(1, 1), padding=1)


def maxpool(target: Target) -> None:
    x = upload_map(target, normal_map((1, 5, 7, 8), np.float32, 1))
    out = empty_map(target, 1, 4, 4, 5)
    maxpool_forward_cuda(target, x, out, size=2, stride=(2, 2), padding=1)


def softmax(target: Target) -> None:
    x = upload_map(target, normal_map((2, 300, 1, 1), np.float32, 1))
    softmax_forward_cuda(target, x, empty_map(target, 2, 1, 1, 300))


def avgpool(target: Target) -> None:
    x = upload_map(target, normal_map((1, 12, 9, 10), np.float32, 1))
    avgpool_forward_cuda(target, x, empty_map(target, 1, 1, 1, 12))


def connected(target: Target) -> None:
    x = upload_map(target, normal_map((2, 70, 1, 1), np.float32, 1))
    weights = target.upload(normal_map((13, 70), np.float32, 2))
    biases = target.upload(np.zeros(13, np.float32))
    connected_forward_cuda(target, x, weights, biases, empty_map(target, 2, 1, 1, 13))


def statistics(target: Target) -> None:
    x = upload_map(target, normal_map((2, 40, 9, 10), np.float32, 1))
    mean, variance = target.empty(40), target.empty(40)
    workspace = target.empty(batchnorm_statistics_workspace(x.pixels, x.channels))
    batchnorm_statistics_cuda(target, x, mean, variance, workspace)


def whole_network(target: Target) -> None:
    """Three convolutions and a pooling in one launch, of up to three bands and two tiles each."""
    layer = "[convolutional]\nfilters={}\nsize=3\npad=1\nactivation=leaky\n"
    cfg = "[net]\nwidth=10\nheight=14\nchannels=3\n" + layer.format(72) + layer.format(16)
    case = make_case(cfg + "[maxpool]\nsize=2\nstride=2\n" + layer.format(8), seed=1)
    engine = CudaEngine(target, case.parameters, "fp16", persistent=True)
    engine.forward(case.graph, case.x)


def upsample(target: Target) -> None:
    x = upload_map(target, normal_map((1, 8, 5, 6), np.float32, 1))
    upsample_forward_cuda(target, x, empty_map(target, 1, 10, 12, 8), stride=2)


def route(target: Target) -> None:
    x = upload_map(target, normal_map((1, 8, 5, 6), np.float32, 1))
    route_forward_cuda(target, [x], empty_map(target, 1, 5, 6, 8))


def resize(target: Target) -> None:
    picture = np.arange(11 * 13 * 3, dtype=np.uint8)
    frames = np.empty(1, FRAME)
    fill_frames(frames, [resize_geometry(13, 11, 24, 16, "letterbox")])
    tables = target.upload(picture), target.upload(frames.view(np.uint8))
    network_input_cuda(target, *tables, empty_map(target, 1, 16, 24, 3))


def stream_k(target: Target) -> None:
    """Three tiles of 20 slices for seven blocks: tiles are shared, and blocks have two."""
    x = upload_map(target, normal_map((1, 136, 9, 10), np.float16, 1))
    weights = normal_map((8, 136, 3, 3), np.float32, 2)
    tile = replace(min(STREAM_K_INSTANCES, key=lambda tile: tile.pixels * tile.filters), blocks=7)
    floats = mma_workspace_floats(Product(90, 8, 9 * 136), tile)
    conv_forward_mma_cuda(
        *(target, x, target.upload(pack_mma_weights(weights, FP16))),
        target.upload(np.zeros(8, np.float32)),
        empty_map(target, 1, 9, 10, 8, dtype=np.float16),
        precision=FP16,
        size=3,
        stride=(1, 1),
        padding=1,
        tile=tile,
        workspace=new_workspace(target, floats),
    )


def first_layer(target: Target) -> None:
    """A picture and the first convolution, of several blocks and more than 32 filters."""
    case = FirstCase([(9, 1)], (70, 19), "stretch", 40, 1, 1, "leaky", FP16, 3)
    case.prepare(target, empty_map(target, 1, 19, 70, 40, dtype=np.float16))()


def boxes(target: Target, capacity: int = 1024) -> None:
    """A head of 300 boxes that all pass for both classes, decoded and suppressed."""
    rng = np.random.default_rng(7)
    head = rng.normal(0, 1, (1, 3 * 7, 10, 10)).astype(np.float32)
    for entry in (4, 5, 6):
        head[:, entry::7] = 3
    geometry = HeadGeometry("yolo", ((0.1, 0.2), (0.3, 0.3), (0.5, 0.4)), 2)
    call = CallBuffers.allocate(target, 1, 2)
    call.fill([resize_geometry(96, 64, 96, 64, "stretch")], threshold=0.5, nms=0.45)
    target.copy_in(call.device, call.pinned)
    heads = device_heads(target, [upload_map(target, head)], [geometry], (96, 64))
    detect_boxes_cuda(target, heads, call, BoxBuffers.allocate(target, 1, capacity))


def too_many_boxes(target: Target) -> None:
    boxes(target, 512)


RACE = "race|uninitialised"
COPY = "asynchronous copy|race|uninitialised"
BUGS = [
    Bug(
        *("no barrier once the slice is there", tiled, "convolution_tiled.cu"),
        *("__syncthreads();  // the slice is there", "", RACE),
    ),
    Bug(
        *("no barrier before the next slice", tiled, "convolution_tiled.cu"),
        *("__syncthreads();  // nobody reads it any more", "", RACE),
    ),
    Bug(
        *("a barrier that half of the threads reach", tiled, "convolution_tiled.cu"),
        "__syncthreads();  // nobody reads it any more",
        "if (threadIdx.y < 4) __syncthreads();",
        "divergent barrier|missed barrier|race|uninitialised",
    ),
    Bug(
        *("padding off by one", tiled, "convolution.cuh"),
        *("row < p.height", "row <= p.height", "out of bounds"),
    ),
    Bug(
        *("rows beyond the last pixel are stored", tiled, "convolution_tiled.cu"),
        *("if (m >= output_pixels(p)) continue;", "", "out of bounds"),
    ),
    Bug(
        *("weights beyond the last term are loaded", tiled, "convolution_tiled.cu"),
        *("wanted && k < terms ? weights", "wanted ? weights", "out of bounds"),
    ),
    Bug(
        *("one row of weights is not loaded", tiled, "convolution_tiled.cu"),
        "i < DEPTH / ROWS; i++",
        "i < DEPTH / ROWS - 1; i++",
        "uninitialised",
    ),
    Bug(
        *("waits for one group too few", blocked, "gemm_tile.cuh"),
        *("cp_async_wait<STAGES - 2>", "cp_async_wait<STAGES - 1>", COPY),
    ),
    Bug(
        *("no barrier in the main loop", blocked, "gemm_tile.cuh"),
        "dev::cp_async_wait<STAGES - 2>();\n      __syncthreads();",
        "dev::cp_async_wait<STAGES - 2>();",
        COPY,
    ),
    Bug(
        *("the barrier before the wait", blocked, "gemm_tile.cuh"),
        "dev::cp_async_wait<STAGES - 2>();\n      __syncthreads();",
        "__syncthreads();\n      dev::cp_async_wait<STAGES - 2>();",
        COPY,
    ),
    Bug(
        *("the stage that is being read is filled", blocked, "gemm_tile.cuh"),
        *("copy(shared.stages[filling])", "copy(shared.stages[reading])", COPY),
    ),
    Bug(
        *("copies that nobody waits for", blocked, "gemm_tile.cuh"),
        "if (s + STAGES - 1 < slices) copy(shared.stages[filling]);",
        "copy(shared.stages[filling]);",
        "asynchronous copy|out of bounds|.* ends without having waited",
    ),
    Bug(
        *("a warpgroup waits for one slice too few", warpgroups, "wgmma_tile.cuh"),
        *("cp_async_wait<AHEAD - 1>", "cp_async_wait<AHEAD>", COPY),
    ),
    Bug(
        *("no barrier before warpgroups multiply", warpgroups, "wgmma_tile.cuh"),
        *("      __syncthreads();\n", "", COPY),
    ),
    Bug(
        *("the stage that is being multiplied is filled", warpgroups, "wgmma_tile.cuh"),
        *("AHEAD = STAGES - 2", "AHEAD = STAGES - 1", COPY),
    ),
    Bug(
        *("two slices may be unfinished", warpgroups, "wgmma_tile.cuh"),
        *("dev::warpgroup_wait<1>()", "dev::warpgroup_wait<2>()", COPY),
    ),
    Bug(
        *("sums that nobody waits for", warpgroups, "wgmma_tile.cuh"),
        "dev::warpgroup_wait<0>();",
        "",
        ".* ends without having waited",
    ),
    Bug(
        *("sums are taken before all parts are there", stream_k, "convolution_stream_k.cu"),
        "parts = stretches.owner(tile_begin + slices - 1) - first + 1",
        "parts = max(stretches.owner(tile_begin + slices - 1) - first, 1)",
        "race|uninitialised|out of bounds",
    ),
    Bug(
        *("a slice more for the first block", stream_k, "convolution_stream_k.cu"),
        *("block * each + min(block, longer)", "block * each + longer", "race|never written"),
    ),
    Bug(
        *("windows are read before they are made", first_layer, "convolution_first.cu"),
        "      shared.biases[lane] = f0 + lane < p.filters ? biases[f0 + lane] : 0.f;\n"
        "    __syncthreads();\n",
        "      shared.biases[lane] = f0 + lane < p.filters ? biases[f0 + lane] : 0.f;\n",
        RACE,
    ),
    Bug(
        *("the next filters' biases come too early", first_layer, "convolution_first.cu"),
        *("nothing, y);\n    __syncthreads();\n", "nothing, y);\n", RACE),
    ),
    Bug(
        *("a row of pixels is not made", first_layer, "convolution_first.cu"),
        *("i < shared.rows * columns", "i < (shared.rows - 1) * columns", "uninitialised"),
    ),
    Bug(
        *("pixels beyond the map are stored", first_layer, "convolution_first.cu"),
        *("i < p.out_height && j < p.out_width", "i < p.out_height", "out of bounds|race"),
    ),
    Bug(
        *("sums are taken before all parts are there", blocked, "gemm_tile.cuh"),
        *("if (shared.ticket != parts - 1) return false;", "", "race"),
    ),
    Bug(
        *("arrives before all threads have stored", blocked, "gemm_tile.cuh"),
        "__syncthreads();\n    if (threadIdx.x == 0) shared.ticket",
        "if (threadIdx.x == 0) shared.ticket",
        "race",
    ),
    Bug(
        *("the ticket is read too early", blocked, "gemm_tile.cuh"),
        "dev::arrive(arrivals);\n    __syncthreads();",
        "dev::arrive(arrivals);",
        RACE,
    ),
    Bug(
        *("copies of 16 bytes one number off", blocked, "gemm_tile.cuh"),
        *("w + (next + r * step * pitch), wanted", "w + (next + r * step * pitch + 1), wanted"),
        "misaligned",
    ),
    Bug(
        *("a window over the map's edge", maxpool, "maxpool.cuh"),
        *("last_row = min(top + size, x_map.height)", "last_row = top + size", "out of bounds"),
    ),
    Bug(
        *("threads beyond the last output", maxpool, "maxpool.cu"),
        *("if (!at.inside) return;", "", "out of bounds"),
    ),
    Bug(
        *("the first sum overwrites the maximum", softmax, "softmax.cu"),
        *("__syncthreads();  // the last result has been read", "", "race"),
    ),
    Bug(
        *("a tree without barriers", softmax, "softmax.cu"),
        "    __syncthreads();\n    if (thread < threads) {",
        "    if (thread < threads) {",
        RACE,
    ),
    Bug(
        *("no barrier below a warp", avgpool, "avgpool.cu"),
        "    __syncthreads();\n    if (threadIdx.y < rows)",
        "    if (rows > 4) __syncthreads();\n    if (threadIdx.y < rows)",
        "race",
    ),
    Bug(
        *("a barrier behind an early exit", avgpool, "avgpool.cu"),
        "  partial.sums[threadIdx.y][threadIdx.x] = sum;",
        "  if (!inside) return;\n  partial.sums[threadIdx.y][threadIdx.x] = sum;",
        "missed barrier",
    ),
    Bug(
        *("warps' sums are read too early", connected, "connected.cu"),
        *("__syncthreads();", "", RACE),
    ),
    Bug(
        *("rows' moments are read too early", statistics, "batchnorm.cu"),
        *("__syncthreads();", "", RACE),
    ),
    Bug(
        *("a slab's count is not written", statistics, "batchnorm.cu"),
        *("slab[0] = moments.count;", "", "uninitialised|never written"),
    ),
    Bug(
        *("every second pixel is not written", upsample, "upsample.cu"),
        *("if (!at.inside) return;", "if (!at.inside || at.column % 2) return;", "never written"),
    ),
    Bug(
        *("a vector at an odd channel", route, "pixelwise.cuh"),
        *("index % groups * LANES;", "index % groups * LANES + 1;", "misaligned|out of bounds"),
    ),
    Bug(
        *("the picture's last row and the one after", resize, "resize.cuh"),
        "min(lower + 1, last), 1.f - fraction",
        "lower + 1, 1.f - fraction",
        "out of bounds",
    ),
    Bug(
        *("keys are overwritten while others compare", boxes, "nms.cu"),
        "precedes(tile.keys[k], mine);\n    __syncthreads();",
        "precedes(tile.keys[k], mine);",
        "race",
    ),
    Bug(
        *("boxes beyond the last are compared", boxes, "nms.cu"),
        *("min(TILE, count - first_later);", "TILE;", "uninitialised"),
    ),
    Bug(
        *("an exit before the barrier", boxes, "nms.cu"),
        "  __syncthreads();\n  if (row >= count) return;",
        "  if (row >= count) return;\n  __syncthreads();",
        "missed barrier",
    ),
    Bug(
        *("what is kept is read before it is decided", boxes, "nms.cu"),
        "walk.diagonal);\n    }\n    __syncthreads();",
        "walk.diagonal);\n    }",
        RACE,
    ),
    Bug(
        *("rows get places without an atomic", boxes, "decode.cu"),
        "first = atomicAdd(sink.count, __popc(chosen));",
        "{ first = *sink.count; *sink.count = first + __popc(chosen); }",
        "race",
    ),
    Bug(
        *("a shuffle that not all lanes reach", boxes, "decode.cu"),
        "first = __shfl_sync(WHOLE_WARP, first, leader);",
        "if (wanted) first = __shfl_sync(WHOLE_WARP, first, leader);",
        "deadlock|divergent warp",
    ),
    Bug(
        *("rows beyond the capacity", too_many_boxes, "decode.cu"),
        "wanted && place < sink.capacity",
        "wanted && place < 2 * sink.capacity",
        "out of bounds",
    ),
    Bug(
        *("an item does not wait", whole_network, "persistent.cu"),
        "dev::wait_for_signals(counters + need.counters + band, need.signals);",
        ";",
        "race",
    ),
    Bug(
        *("one of a band's tiles is enough", whole_network, "persistent.cu"),
        *("need.signals);", "1);", "race"),
    ),
    Bug(
        *("the last row under a window is not waited for", whole_network, "persistent.cu"),
        *("(p.size - 1) * p.dilation;", "0;", "race"),
    ),
    Bug(
        *("an item is said to be there before it is stored", whole_network, "persistent.cu"),
        *("    __syncthreads();  // the whole item is stored\n", "", "race"),
    ),
    Bug(
        *("nobody says that an item is there", whole_network, "persistent.cu"),
        *("threadIdx.x == 0 && finished", "threadIdx.x == 0 && !finished", "endless"),
    ),
    Bug(
        *("pixels are copied before they are there", whole_network, "mma_tile.cuh"),
        *("    wait_for_x();\n", "", "race"),
    ),
    Bug(
        *("counters begin anew while blocks still use them", whole_network, "persistent.cu"),
        *("if (shared.tile.ticket != gridDim.x - 1) return;", "", "race|endless"),
    ),
]
RUNS = list(dict.fromkeys(bug.run for bug in BUGS))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_no_alarm_without_a_bug(run: Callable[[Target], None]) -> None:
    for seed in range(5):
        run(HostTarget("check", seed))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.file}: {bug.what}")
def test_the_bug_is_caught(bug: Bug) -> None:
    for seed in range(2):
        message = bug.message(seed)
        assert re.match(rf"code\.cu: [^:]+: ({bug.kinds})", message)
        assert re.search(r"\w+\.cuh?:\d+ `.+`", message) or "never written" in message
