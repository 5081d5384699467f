"""What each kernel is meant to take of a GPU: the table that tests/kernels/test_compile.py checks.

Every kernel has a row here: a plain one by its name, a template by every instance that a launcher
asks for. The test compiles each for all of `ARCHITECTURES` and refuses spilled registers, more
registers than the row's cap, and fewer blocks on a multiprocessor than the row promises. A kernel
without a row fails it.

To add a row, put in what the kernel is designed for, then run the test: its message says what the
compiler made of it. Lower what is better than designed; think before raising anything.
"""

from dataclasses import dataclass

from tinyyolo3.cuda.budget_mma import mma_rows

#: The oldest GPU that is supported, and the two that the kernels are tuned for.
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")


@dataclass(frozen=True)
class Budget:
    """What one kernel is meant to take.

    Attributes:
        file: in the kernels' folder.
        name: the kernel, with its template arguments if it has any.
        threads: of a block, as launched.
        registers: of a thread, at the most.
        blocks: resident on one multiprocessor at the least, for each of `ARCHITECTURES`; 0 where
            it is never launched.
        shared_bytes: dynamic shared memory of a block, as launched.
    """

    file: str
    name: str
    threads: int
    registers: int
    blocks: tuple[int, int, int]
    shared_bytes: int = 0


BUDGETS = (
    Budget("activation.cu", "activation_forward<1>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("activation.cu", "activation_forward<4>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("activation.cu", "activation_forward<1, half>", 256, 32, (4, 8, 8)),
    Budget("activation.cu", "activation_forward<4, half>", 256, 32, (4, 8, 8)),
    Budget("activation.cu", "activation_forward<8, half>", 256, 32, (4, 8, 8)),
    Budget("avgpool.cu", "avgpool_forward", 512, 32, (2, 4, 4), shared_bytes=2048),
    Budget("avgpool.cu", "avgpool_forward_half", 512, 32, (2, 4, 4), shared_bytes=2048),
    Budget("batchnorm.cu", "batchnorm_forward", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("batchnorm.cu", "batchnorm_slab_moments", 256, 32, (4, 8, 8), shared_bytes=3072),
    Budget("batchnorm.cu", "batchnorm_statistics", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("connected.cu", "connected<1, 1>", 256, 64, (4, 4, 4), shared_bytes=128),
    Budget("connected.cu", "connected<1, 1, half>", 256, 64, (4, 4, 4), shared_bytes=128),
    Budget("connected.cu", "connected<1, 4>", 256, 64, (4, 4, 4), shared_bytes=128),
    Budget("connected.cu", "connected<1, 4, half>", 256, 64, (4, 4, 4), shared_bytes=128),
    Budget("connected.cu", "connected<4, 1>", 256, 80, (3, 3, 3), shared_bytes=512),
    Budget("connected.cu", "connected<4, 1, half>", 256, 80, (3, 3, 3), shared_bytes=512),
    Budget("connected.cu", "connected<4, 4>", 256, 80, (3, 3, 3), shared_bytes=512),
    Budget("connected.cu", "connected<4, 4, half>", 256, 80, (3, 3, 3), shared_bytes=512),
    Budget(
        "convolution_blocked.cu",
        "convolution_blocked<128, 64, 16, 8, 8, 3, 4, 3>",
        128,
        168,
        (1, 3, 3),
        shared_bytes=36880,
    ),
    Budget(
        "convolution_blocked.cu",
        "convolution_blocked<64, 64, 16, 8, 4, 3, 4, 5>",
        128,
        96,
        (2, 5, 5),
        shared_bytes=24592,
    ),
    Budget(
        "convolution_blocked.cu",
        "convolution_blocked<128, 32, 16, 8, 4, 3, 4, 4>",
        128,
        112,
        (2, 4, 4),
        shared_bytes=30736,
    ),
    Budget(
        "convolution_blocked.cu",
        "convolution_blocked<32, 64, 16, 4, 4, 3, 4, 5>",
        128,
        80,
        (3, 7, 6),
        shared_bytes=18448,
    ),
    Budget(
        "convolution_blocked.cu",
        "convolution_blocked<128, 32, 16, 8, 4, 3, 1, 4>",
        128,
        128,
        (2, 4, 4),
        shared_bytes=30736,
    ),
    Budget("convolution_depthwise.cu", "depthwise_general<2, 1>", 128, 56, (8, 9, 9)),
    Budget("convolution_depthwise.cu", "depthwise_general<2, 1, half>", 128, 56, (8, 9, 9)),
    Budget("convolution_depthwise.cu", "depthwise_general<2, 4>", 128, 56, (8, 9, 9)),
    Budget("convolution_depthwise.cu", "depthwise_general<2, 4, half>", 128, 56, (8, 9, 9)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<3, 1, 4, 4>", 128, 64, (8, 8, 8)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<3, 1, 4, 4, half>", 128, 72, (7, 7, 7)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<3, 2, 4, 4>", 128, 88, (7, 7, 5)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<3, 2, 4, 4, half>", 128, 88, (6, 6, 5)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<5, 1, 4, 4>", 128, 80, (7, 7, 6)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<5, 1, 4, 4, half>", 128, 80, (6, 6, 6)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<5, 2, 4, 4>", 128, 96, (6, 6, 5)),
    Budget("convolution_depthwise.cu", "depthwise_unrolled<5, 2, 4, 4, half>", 128, 96, (5, 5, 5)),
    Budget("convolution_direct.cu", "convolution_direct", 256, 64, (4, 6, 6)),
    Budget("convolution_direct.cu", "convolution_direct_half", 256, 64, (4, 6, 6)),
    *(
        Budget("convolution_first.cu", f"convolution_first<{types}, ACTIVATION_LEAKY, {s}>", *rest)
        for types, s, rest in (
            ("half", 1, (256, 80, (3, 3, 3), 2168)),
            ("half", 2, (256, 80, (3, 3, 3), 6760)),
            ("float", 1, (256, 80, (0, 3, 3), 4208)),
            ("float", 2, (256, 80, (0, 3, 3), 13388)),
        )
    ),
    Budget("convolution_tiled.cu", "convolution_tiled", 256, 64, (4, 5, 5), shared_bytes=8192),
    Budget("convolution_winograd.cu", "winograd_inputs<2>", 128, 40, (8, 16, 16)),
    Budget("convolution_winograd.cu", "winograd_inputs<4>", 128, 72, (7, 9, 8)),
    Budget("convolution_winograd.cu", "winograd_outputs<2>", 128, 48, (8, 16, 16)),
    Budget("convolution_winograd.cu", "winograd_outputs<4>", 128, 64, (8, 9, 10)),
    Budget(
        "convolution_winograd.cu",
        "winograd_multiply<128, 64, 16, 8, 8, 3, 3>",
        128,
        168,
        (1, 4, 3),
        shared_bytes=36880,
    ),
    Budget(
        "convolution_winograd.cu",
        "winograd_multiply<64, 64, 16, 8, 4, 3, 5>",
        128,
        96,
        (2, 5, 5),
        shared_bytes=24592,
    ),
    Budget(
        "convolution_winograd.cu",
        "winograd_multiply<128, 32, 16, 8, 4, 3, 4>",
        128,
        104,
        (2, 5, 4),
        shared_bytes=30736,
    ),
    Budget(
        "convolution_winograd.cu",
        "winograd_multiply<32, 64, 16, 4, 4, 3, 5>",
        128,
        80,
        (3, 6, 6),
        shared_bytes=18448,
    ),
    Budget("decode.cu", "clear_counts", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("decode.cu", "decode_head", threads=256, registers=64, blocks=(4, 4, 4)),
    Budget("layout.cu", "map_to_nchw", 256, 48, (4, 8, 8), shared_bytes=4224),
    Budget("layout.cu", "map_to_nchw_half", 256, 48, (4, 8, 8), shared_bytes=4224),
    Budget("layout.cu", "nchw_to_map", 256, 48, (4, 8, 8), shared_bytes=4224),
    Budget("layout.cu", "nchw_to_map_few", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("layout.cu", "nchw_to_map_few_half", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("layout.cu", "nchw_to_map_half", 256, 48, (4, 8, 8), shared_bytes=4224),
    Budget("maxpool.cu", "maxpool_forward<1>", threads=256, registers=64, blocks=(4, 5, 5)),
    Budget("maxpool.cu", "maxpool_forward<4>", threads=256, registers=64, blocks=(4, 4, 4)),
    Budget("maxpool.cu", "maxpool_forward<1, half>", 256, 64, (4, 4, 4)),
    Budget("maxpool.cu", "maxpool_forward<4, half>", 256, 64, (4, 4, 4)),
    Budget("maxpool.cu", "maxpool_forward<8, half>", 256, 64, (4, 4, 4)),
    Budget("nms.cu", "nms_mask", 64, 64, (16, 18, 18), shared_bytes=2048),
    Budget("nms.cu", "nms_scan", 256, 72, (3, 3, 3), shared_bytes=2568),
    Budget("nms.cu", "sort_rows", 256, 32, (4, 8, 8), shared_bytes=3072),
    Budget("persistent.cu", "persistent", 128, 168, (1, 3, 3), shared_bytes=49952),
    Budget("region.cu", "region_forward", threads=256, registers=48, blocks=(4, 5, 5)),
    Budget("reorg.cu", "reorg_forward", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("reorg.cu", "reorg_forward_half", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("resize.cu", "network_input", threads=256, registers=48, blocks=(4, 5, 5)),
    Budget("resize.cu", "network_input_half", threads=256, registers=48, blocks=(4, 5, 5)),
    Budget("route.cu", "route_forward<1>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("route.cu", "route_forward<4>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("route.cu", "route_forward<1, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<4, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<8, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<1, float, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<4, float, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<8, float, half>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<1, half, float>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<4, half, float>", 256, 32, (4, 8, 8)),
    Budget("route.cu", "route_forward<8, half, float>", 256, 32, (4, 8, 8)),
    Budget("sam.cu", "sam_forward<1>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("sam.cu", "sam_forward<4>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("sam.cu", "sam_forward<1, half>", 256, 32, (4, 8, 8)),
    Budget("sam.cu", "sam_forward<4, half>", 256, 32, (4, 8, 8)),
    Budget("sam.cu", "sam_forward<8, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_channel<1>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_channel<4>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_channel<1, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_channel<4, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_channel<8, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_pixel<1>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_pixel<4>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_pixel<1, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_pixel<4, half>", 256, 32, (4, 8, 8)),
    Budget("scale_channels.cu", "scale_by_pixel<8, half>", 256, 32, (4, 8, 8)),
    Budget("shortcut.cu", "shortcut_forward<1>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("shortcut.cu", "shortcut_forward<4>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("shortcut.cu", "shortcut_forward<1, half>", 256, 32, (4, 8, 8)),
    Budget("shortcut.cu", "shortcut_forward<4, half>", 256, 32, (4, 8, 8)),
    Budget("shortcut.cu", "shortcut_forward<8, half>", 256, 32, (4, 8, 8)),
    Budget("softmax.cu", "softmax_forward", 256, 32, (4, 8, 8), shared_bytes=1024),
    Budget("softmax.cu", "softmax_forward_half", 256, 32, (4, 8, 8), shared_bytes=1024),
    Budget("upsample.cu", "upsample_forward<1>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("upsample.cu", "upsample_forward<4>", threads=256, registers=32, blocks=(4, 8, 8)),
    Budget("upsample.cu", "upsample_forward<1, half>", 256, 32, (4, 8, 8)),
    Budget("upsample.cu", "upsample_forward<4, half>", 256, 32, (4, 8, 8)),
    Budget("upsample.cu", "upsample_forward<8, half>", 256, 32, (4, 8, 8)),
    Budget("yolo.cu", "yolo_forward", threads=256, registers=32, blocks=(4, 8, 8)),
    *(Budget(*row) for row in mma_rows()),
)
