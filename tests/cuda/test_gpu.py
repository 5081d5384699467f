"""The GPU's target, on a fake CuPy: what is late stays late, and what is missing is said.

The same tests as the host target's and those of the kernels run on a real GPU with
TINYYOLO3_TARGET=cuda.
"""

import gc
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinyyolo3.cuda import device, gpu
from tinyyolo3.cuda.cubins import Cubin
from tinyyolo3.cuda.gpu import CudaTarget, open_cuda
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.cuda.sources import Source
from tinyyolo3.errors import BackendError, InputError, KernelError
from tinyyolo3.layers.maxpool import maxpool_forward_cuda, maxpool_forward_reference
from tinyyolo3.testing.kernels import run_on_maps

from .fake_cupy import CUDADriverError, CUDARuntimeError, FakeGpu

PIXEL = MapStruct(1, 1, 1, 16, 16)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    """A GPU, for which everything is compiled at once."""
    fake = FakeGpu()

    def find_cubin(source: Source, names: Sequence[str], architecture: str) -> Cubin:
        assert architecture == "sm_90"
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.cubin"
        file.write_text(json.dumps({"file": source.name, "names": list(names)}))
        return Cubin(file, {name: f"symbol_of_{name}" for name in names}, "")

    monkeypatch.setitem(sys.modules, "cupy", fake.cupy)
    monkeypatch.setitem(sys.modules, "cupyx", fake.cupyx)
    monkeypatch.setattr(gpu, "find_cubin", find_cubin)
    monkeypatch.setattr(device, "check_architecture", lambda _: None)
    return fake


@pytest.fixture
def target(fake: FakeGpu) -> CudaTarget:
    assert fake
    return open_cuda()


def copy_pixel(target: CudaTarget, x: Any, y: Any, **options: Any) -> None:
    """Launch a copy of the 16 floats of one pixel: a reorg of stride 1."""
    kernel = target.kernel("reorg.cu", "reorg_forward")
    kernel((1,), (256,), (x, PIXEL, y, PIXEL, 1), outputs=(y,), **options)


def numbers(first: int) -> np.ndarray:
    return np.arange(first, first + 16, dtype=np.float32)


class TestTarget:
    def test_it_says_what_it_runs_on(self, target: CudaTarget) -> None:
        assert target.name == "cuda"
        assert target.gpu.name == "Fake GPU"
        assert target.gpu.architecture == "sm_90"

    def test_layers_compute_as_anywhere(self, target: CudaTarget) -> None:
        x = np.random.default_rng(1).standard_normal((2, 8, 5, 7)).astype(np.float32)
        options: Any = {"size": 2, "stride": (2, 1), "padding": 1}
        expected = maxpool_forward_reference(x, **options)
        launch = partial(maxpool_forward_cuda, target, **options)
        assert np.array_equal(run_on_maps(target, launch, [x], expected.shape, 4), expected)

    def test_uploads_are_there_and_downloads_wait(self, target: CudaTarget) -> None:
        x = target.upload(numbers(0).reshape(2, 8)[:, ::-1])
        y = target.empty(16)
        copy_pixel(target, x, y)
        assert target.download(y).tolist() == [*range(7, -1, -1), *range(15, 7, -1)]
        assert target.download(y[2:4]).tolist() == [5, 4]
        assert target.download(y.view(np.uint8)).nbytes == 64

    def test_pinned_copies_are_begun_and_not_done(self, target: CudaTarget) -> None:
        into, out = target.pinned(16), target.pinned(16)
        x, y = target.empty(16), target.empty(16)
        into[...], out[...] = numbers(1), -1
        target.copy_in(x, into)
        copy_pixel(target, x, y)
        target.copy_out(out, y)
        assert (out == -1).all()
        target.synchronize()
        assert out.tolist() == numbers(1).tolist()

    def test_a_fork_waits_for_nobody(self, target: CudaTarget) -> None:
        other = target.fork()
        assert other.kernel is not target.kernel
        outs = [target.pinned(16), other.pinned(16)]
        x = target.upload(numbers(5))
        for each, out in zip((target, other), outs, strict=True):
            out[...] = 0
            y = each.empty(16)
            copy_pixel(each, x, y)
            each.copy_out(out, y)
        other.synchronize()
        assert outs[0].sum() == 0
        assert outs[1].tolist() == numbers(5).tolist()

    def test_forks_share_the_loaded_kernels(
        self, target: CudaTarget, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target.kernel("reorg.cu", "reorg_forward")
        monkeypatch.setattr(gpu, "find_cubin", None)
        target.fork().kernel("reorg.cu", "reorg_forward")

    def test_a_graph_does_it_again(self, target: CudaTarget) -> None:
        into, out = target.pinned(16), target.pinned(16)
        x, y = target.empty(16), target.empty(16)

        def record() -> None:
            target.copy_in(x, into)
            copy_pixel(target, x, y)
            target.copy_out(out, y)

        into[...] = numbers(0)
        replay = target.capture(record)
        assert out.tolist() == numbers(0).tolist()
        for first in (10, 20):
            into[...] = numbers(first)
            replay()
            assert out.tolist() != numbers(first).tolist()
            target.synchronize()
            assert out.tolist() == numbers(first).tolist()

    def test_a_graph_keeps_its_arrays(self, target: CudaTarget) -> None:
        x = target.upload(numbers(3))
        y = target.empty(16)
        replay = target.capture(lambda: copy_pixel(target, x, y))
        assert replay.record is not None  # type: ignore[attr-defined]

    def test_memory_is_not_allocated_while_a_graph_is_made(self, target: CudaTarget) -> None:
        runs = []

        def record() -> None:
            runs.append(1)
            if len(runs) == 2:
                target.empty(16)

        with pytest.raises(InputError, match="before a graph is captured"):
            target.capture(record)
        target.download(target.upload(numbers(0)))  # the stream can be used

    @pytest.mark.parametrize("elsewhere", [False, True])
    def test_garbage_may_be_collected_while_a_graph_is_made(
        self, target: CudaTarget, fake: FakeGpu, elsewhere: bool
    ) -> None:
        """A graph and a stream in a cycle are freed whenever Python likes, in any thread."""
        x, y, other = target.upload(numbers(3)), target.empty(16), target.fork()
        garbage: list[Any] = [other, other.capture(partial(copy_pixel, other, x, y))]
        garbage.append(garbage)
        del garbage, other
        streams = []

        def record() -> None:
            if streams:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(gc.collect).result() if elsewhere else gc.collect()
            streams.append(len(fake.streams))
            copy_pixel(target, x, y)

        gc.disable()
        try:
            replay = target.capture(record)
        finally:
            gc.enable()
        assert streams == [2, 1]
        replay()
        assert target.download(y).tolist() == numbers(3).tolist()

    def test_waiting_is_refused_while_a_graph_is_made(self, target: CudaTarget) -> None:
        with pytest.raises(KernelError, match="cudaErrorStreamCaptureUnsupported"):
            target.capture(target.synchronize)
        target.synchronize()

    def test_more_shared_memory_is_asked_for(self, target: CudaTarget, fake: FakeGpu) -> None:
        x, y = target.upload(numbers(0)), target.empty(16)
        for bytes_ in (1000, 100_000, 50_000, 227 * 1024):
            copy_pixel(target, x, y, shared_mem=bytes_)
        with pytest.raises(BackendError, match=r"232,449 bytes .*, Fake GPU has 232,448 for a blo"):
            copy_pixel(target, x, y, shared_mem=227 * 1024 + 1)
        fake.properties["sharedMemPerBlockOptin"] = 64 * 1024
        with pytest.raises(BackendError, match="Fake GPU has 65,536"):
            copy_pixel(open_cuda(), x, y, shared_mem=100_000)


class TestMistakes:
    def test_arrays_of_numpy_are_refused(self, target: CudaTarget) -> None:
        with pytest.raises(KernelError, match=r"reorg_forward: x: cupy\.ndarray or None expected"):
            copy_pixel(target, numbers(0), target.empty(16))

    def test_what_is_not_contiguous_is_refused(self, target: CudaTarget) -> None:
        with pytest.raises(KernelError, match="x: a contiguous array expected"):
            copy_pixel(target, target.empty(32)[::2], target.empty(16))
        with pytest.raises(InputError, match="copy: contiguous"):
            target.download(target.empty(32)[::2])

    def test_copies_between_unlike_arrays_are_refused(self, target: CudaTarget) -> None:
        with pytest.raises(InputError, match="copy: shape"):
            target.copy_in(target.empty(4), target.pinned(5))

    def test_used_up_memory_says_how_much(self, target: CudaTarget) -> None:
        with pytest.raises(
            BackendError, match=r"used up: 4,294,967,296 bytes needed, [\d,]+ of 1,073,741,824 byt"
        ):
            target.empty(1 << 30)

    def test_used_up_pinned_memory_says_so(self, target: CudaTarget, fake: FakeGpu) -> None:
        def fail(*_: object) -> None:
            raise CUDARuntimeError(2, "cudaErrorMemoryAllocation")

        fake.cupyx.empty_pinned = fail
        with pytest.raises(BackendError, match="64 bytes of page-locked memory needed"):
            target.pinned(16)

    def test_a_kernel_that_fails_is_named(self, target: CudaTarget) -> None:
        def fail(*_: object, **__: object) -> None:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")

        target._modules.load("reorg.cu", "reorg_forward").raw = fail
        with pytest.raises(KernelError, match=r"reorg_forward\(1,\)\(256,\): CUDA_ERROR_INVALID"):
            copy_pixel(target, target.empty(16), target.empty(16))

    def test_a_kernel_that_is_not_there(self, target: CudaTarget) -> None:
        with pytest.raises(KernelError, match=r"reorg\.cu: no kernel 'reorg'"):
            target.kernel("reorg.cu", "reorg")


class TestWithoutAGpu:
    def test_no_cupy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cupy", None)
        with pytest.raises(BackendError) as error:
            open_cuda()
        assert str(error.value) == "CuPy is not installed: pip install 'tinyyolo3[cuda]'"

    @pytest.mark.parametrize(
        ("status", "driver", "cupy", "message"),
        [
            (35, 0, 13020, "no NVIDIA driver is installed"),
            (
                35,
                12020,
                13020,
                r"driver is for CUDA 12\.2, CuPy for CUDA 13: .*tinyyolo3\[cuda12\]",
            ),
            (35, 11080, 12080, r"driver is for CUDA 11\.8, CuPy for CUDA 12: update it$"),
            (100, 13000, 13020, "no NVIDIA GPU was found"),
            (999, 13000, 13020, "CUDA does not start: cudaErrorUnknown"),
        ],
    )
    def test_no_device(
        self, fake: FakeGpu, status: int, driver: int, cupy: int, message: str
    ) -> None:
        def fail() -> int:
            raise CUDARuntimeError(status)

        runtime = fake.cupy.cuda.runtime
        runtime.getDeviceCount = fail
        runtime.driverGetVersion, runtime.runtimeGetVersion = lambda: driver, lambda: cupy
        with pytest.raises(BackendError, match=message) as error:
            open_cuda()
        assert "\n" not in str(error.value)

    def test_none_is_visible(self, fake: FakeGpu) -> None:
        fake.cupy.cuda.runtime.getDeviceCount = lambda: 0
        with pytest.raises(BackendError, match="no NVIDIA GPU was found"):
            open_cuda()

    def test_a_card_that_is_too_old(self, fake: FakeGpu) -> None:
        fake.properties |= {"major": 6, "minor": 1}
        with pytest.raises(BackendError, match="Fake GPU is sm_61, the kernels are for sm_75"):
            open_cuda()

    def test_a_card_that_is_too_new(self, fake: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("cuda.bindings.nvrtc")
        from tinyyolo3.cuda.nvrtc import check_architecture

        monkeypatch.setattr(device, "check_architecture", check_architecture)
        fake.properties |= {"major": 99}
        with pytest.raises(BackendError, match="this GPU is sm_990: pip install -U nvidia-cuda"):
            open_cuda()

    def test_this_machine(self) -> None:
        """Whatever it has: a target, or one sentence."""
        said = ""
        try:
            said = open_cuda().name
        except BackendError as problem:
            said = str(problem)
        assert said
        assert "\n" not in said


def test_the_fake_has_no_name_that_cupy_has_not(
    fake: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    cupyx = pytest.importorskip("cupyx")

    def compare(ours: SimpleNamespace, theirs: Any, path: str) -> None:
        for name, value in vars(ours).items():
            assert hasattr(theirs, name), f"{path}.{name}"
            if isinstance(value, SimpleNamespace):
                compare(value, getattr(theirs, name), f"{path}.{name}")
            elif isinstance(value, int):
                assert getattr(theirs, name) == value, f"{path}.{name}"

    compare(fake.cupy, cupy, "cupy")
    compare(fake.cupyx, cupyx, "cupyx")
    for name in ("begin_capture", "end_capture", "synchronize", "ptr"):
        assert hasattr(cupy.cuda.Stream, name) or name == "ptr"
    for name in ("launch", "upload"):
        assert hasattr(cupy.cuda.Graph, name)
    for name in ("num_regs", "max_dynamic_shared_size_bytes"):
        assert hasattr(cupy.RawKernel, name)
