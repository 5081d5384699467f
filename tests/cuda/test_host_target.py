"""The host target keeps account of its memory, and does what a GPU would do."""

import gc
import weakref

import numpy as np
import pytest

from tinyyolo3.cuda.host import HostTarget
from tinyyolo3.cuda.host_memory import ALIGNMENT, Untouched, guarded_empty
from tinyyolo3.cuda.maps import MapStruct
from tinyyolo3.errors import InputError, KernelError
from tinyyolo3.testing import HostModule

READER = 'extern "C" __global__ void read(const float* x, float* y, int at) { y[0] = x[at]; }'


@pytest.mark.parametrize("count", [1, 3, 4, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_an_array_is_aligned_and_poisoned(count: int, dtype: type) -> None:
    array = guarded_empty(count, dtype)
    assert array.shape == (count,)
    assert array.ctypes.data % ALIGNMENT == 0
    assert (array.view(np.uint8) == 0xFF).all()
    array[...] = 1
    assert array.sum() == count


def test_empty_arrays_and_other_shapes() -> None:
    assert guarded_empty(0, np.float32).size == 0
    assert guarded_empty((2, 3, 4), np.float32).shape == (2, 3, 4)


@pytest.mark.parametrize("at", [1024, -1])
def test_what_lies_beside_an_array_faults_even_in_fast_mode(at: int) -> None:
    x = guarded_empty(1024, np.float32)
    y = np.zeros(1, np.float32)
    kernel = HostModule(code=READER, mode="fast").get_function("read")
    x[...] = 5
    kernel((1,), (1,), (x, y, 1023))
    assert y[0] == 5
    with pytest.raises(KernelError, match=r"read: .*y\[0\] = x\[at\]"):
        kernel((1,), (1,), (x, y, at))


def test_memory_is_given_back() -> None:
    array = guarded_empty(1 << 16, np.float32)
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    watch = weakref.ref(base)
    view = array[5:]
    del array
    assert watch() is not None
    view[0] = 1
    del view, base
    gc.collect()
    assert watch() is None


class TestUntouched:
    def test_parts_belong_to_their_array(self) -> None:
        untouched = Untouched()
        arrays = [guarded_empty(100, np.float32) for _ in range(3)]
        for array in arrays:
            untouched.add(array)
        assert untouched.has(arrays[1][50:])
        assert untouched.has(arrays[1].view(np.uint8)[399:])
        untouched.remove(arrays[1][20:30])
        assert not untouched.has(arrays[1])
        assert untouched.has(arrays[0])
        assert untouched.has(arrays[2])
        assert not untouched.has(np.zeros(1))
        untouched.remove(np.zeros(1))

    def test_arrays_that_are_gone_are_forgotten(self) -> None:
        untouched = Untouched()
        array = guarded_empty(100, np.float32)
        untouched.add(array)
        view = array[10:20]
        del array
        gc.collect()
        assert untouched.has(view)
        del view
        gc.collect()
        assert untouched._ends == {}


class TestTarget:
    """Against what tinyyolo3.cuda.target promises."""

    def test_arrays_go_there_and_back(self) -> None:
        target = HostTarget()
        x = np.arange(12, dtype=np.float32).reshape(3, 4)
        there = target.upload(x)
        x[0] = 0
        back = target.download(there)
        assert back.tolist() == np.arange(12).reshape(3, 4).tolist()
        there[...] = 0
        assert back[2, 3] == 11
        strided = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2]
        assert target.download(target.upload(strided)).tolist() == strided.tolist()

    def test_pinned_copies(self) -> None:
        target = HostTarget()
        pinned, there = target.pinned(4, np.int32), target.empty(4, np.int32)
        pinned[...] = 3
        target.copy_in(there, pinned)
        pinned[...] = 0
        target.copy_out(pinned, there)
        target.synchronize()
        assert pinned.tolist() == [3] * 4
        with pytest.raises(InputError, match=r"copy: shape \(4,\) expected, found \(3,\)"):
            target.copy_in(there, target.pinned(3, np.int32))
        with pytest.raises(InputError, match="copy: dtype float32 expected, found int32"):
            target.copy_out(target.pinned(4), there)

    def test_a_capture_can_be_repeated(self) -> None:
        target = HostTarget()
        pinned, there = target.pinned(1), target.empty(1)
        repeat = target.capture(lambda: target.copy_in(there, pinned))
        pinned[0] = 42
        repeat()
        assert target.download(there)[0] == 42

    def test_a_kernel_is_built_once(self) -> None:
        target = HostTarget()
        kernel = target.kernel("reorg.cu", "reorg_forward")
        assert target.kernel("reorg.cu", "reorg_forward") is kernel
        assert target.fork().kernel("reorg.cu", "reorg_forward") is kernel
        with pytest.raises(KernelError, match=r"reorg\.cu: no kernel 'reorg'"):
            target.kernel("reorg.cu", "reorg")
        with pytest.raises(KernelError, match=r"nothing\.cu: cannot be read"):
            target.kernel("nothing.cu", "nothing")


class TestUnwrittenMemory:
    """A launch that reads what nobody has written is found, wherever the array comes from."""

    @pytest.fixture
    def target(self) -> HostTarget:
        return HostTarget("check", seed=1)

    @staticmethod
    def copy(target: HostTarget, x: np.ndarray, y: np.ndarray) -> None:
        """Launch a copy of the 16 floats of one pixel: a reorg of stride 1."""
        pixel = MapStruct(1, 1, 1, 16, 16)
        kernel = target.kernel("reorg.cu", "reorg_forward")
        kernel((1,), (256,), (x, pixel, y, pixel, 1))

    def test_reading_it_is_found(self, target: HostTarget) -> None:
        with pytest.raises(KernelError, match=r"reorg\.cu: reorg_forward: .*thread"):
            self.copy(target, target.empty(16), target.empty(16))

    def test_what_a_kernel_has_written_may_be_read(self, target: HostTarget) -> None:
        x = target.upload(np.arange(16, dtype=np.float32))
        y, z = target.empty(16), target.empty(16)
        self.copy(target, x, y)
        self.copy(target, y, z)
        assert target.download(z).tolist() == list(range(16))

    def test_what_was_copied_in_may_be_read(self, target: HostTarget) -> None:
        x, pinned = target.empty(16), target.pinned(16)
        pinned[...] = 2
        target.copy_in(x, pinned)
        self.copy(target, x, target.empty(16))

    def test_parts_of_an_array_count_too(self, target: HostTarget) -> None:
        whole = target.empty(32)
        with pytest.raises(KernelError):
            self.copy(target, whole[16:], target.empty(16))
        self.copy(target, target.upload(np.ones(16, np.float32)), whole[:16])
        self.copy(target, whole[:16], target.empty(16))
