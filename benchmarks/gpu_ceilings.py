"""Stage 10: what this GPU can do at most: copying, multiplying, beginning a kernel."""

from collections.abc import Callable
from statistics import median
from typing import Any

from gpu_context import Context, Record

#: Bytes of the copy; both buffers together are far larger than any cache.
COPY_BYTES = 2 << 30
#: Side of the matrices that are multiplied.
SIDE = 8192
#: Tiny kernels in one graph, of which the time for one is the gap between two.
KERNELS = 200


def measure(context: Context, part: str, record: Record) -> None:  # noqa: ARG001 (has one part)
    """Measure each ceiling with PyTorch."""
    import torch

    device = "cuda" if context.target == "cuda" else "cpu"
    shrink = 1 if device == "cuda" else 64
    record("copy_gb_per_s", round(copy_rate(torch, device, COPY_BYTES // shrink), 1))
    side = SIDE // shrink
    torch.backends.cuda.matmul.allow_tf32 = False
    record("fp32_tflop_per_s", round(product_rate(torch, device, side, torch.float32), 2))
    if device != "cuda":
        return
    record("fp16_tflop_per_s", round(product_rate(torch, device, side, torch.float16), 1))
    torch.backends.cuda.matmul.allow_tf32 = True
    record("tf32_tflop_per_s", round(product_rate(torch, device, side, torch.float32), 1))
    record("graph_launch_us", round(launch_gap_us(torch), 3))


def copy_rate(torch: Any, device: str, size: int) -> float:
    """Return the bandwidth of a copy inside the device's memory, GB/s read and written."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    return 2 * size / seconds(torch, device, lambda: copy.copy_(source)) / 1e9


def product_rate(torch: Any, device: str, side: int, dtype: Any) -> float:
    """Return the rate of a product of two square matrices of random numbers, TFLOP/s."""
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(a)
    return 2 * side**3 / seconds(torch, device, lambda: torch.mm(a, b, out=out)) / 1e12


def launch_gap_us(torch: Any) -> float:
    """Return what a kernel that does nearly nothing takes inside a graph, microseconds."""
    number = torch.zeros(1, device="cuda")
    number.add_(1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(KERNELS):
            number.add_(1)
    return 1e6 * seconds(torch, "cuda", graph.replay) / KERNELS


def seconds(torch: Any, device: str, job: Callable[[], object], runs: int = 20) -> float:
    """Return the median time of `runs` calls, after a few that are not counted."""
    if device != "cuda":
        import time

        taken = []
        for _ in range(3):
            start = time.perf_counter()
            job()
            taken.append(time.perf_counter() - start)
        return median(taken)
    for _ in range(5):
        job()
    pairs = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(runs)
    ]
    for before, after in pairs:
        before.record()
        job()
        after.record()
    torch.cuda.synchronize()
    return float(median(before.elapsed_time(after) for before, after in pairs)) / 1e3
