"""Kernels are compiled for GPUs without one, and compiled again when anything has changed."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tinyyolo3.cuda import cubins, nvrtc
from tinyyolo3.cuda.cubins import Cubin, find_cubin
from tinyyolo3.cuda.nvrtc import check_architecture, compile_cubin, options_for
from tinyyolo3.cuda.resources import Resources, read_resources, resident_blocks
from tinyyolo3.cuda.sources import Source, make_source, read_source
from tinyyolo3.cuda.store import PLACE_VARIABLE
from tinyyolo3.errors import BackendError, KernelError

CODE = """
#include "scale.cuh"
extern "C" __global__ void plain(float* x) { x[threadIdx.x] = x[threadIdx.x] * 3.f + SCALE; }
namespace inner { __global__ void spelt(float* x) { *x = LEVEL; } }
template <int N> __global__ void copies(float* x) { x[threadIdx.x] = N; }
"""
NAMES = ("plain", "inner::spelt", "copies<3>")


def reason_against() -> str:
    """Return why nothing can be compiled here, if so."""
    try:
        nvrtc.nvrtc_version()
    except BackendError as problem:
        return str(problem)
    return ""


installed = pytest.mark.skipif(bool(reason_against()), reason=reason_against())


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A file with a header, and an empty store."""
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "k.cu").write_text(CODE)
    (tmp_path / "scale.cuh").write_text("#define SCALE 2.f\n")
    return read_source(tmp_path / "k.cu")


def compile_it(source: Source, architecture: str = "sm_80", level: int = 1) -> Cubin:
    return find_cubin(source, NAMES, architecture, {"LEVEL": level})


@installed
class TestCompiling:
    def test_kernels_are_in_the_cubin_under_their_symbols(self, source: Source) -> None:
        cubin = compile_it(source)
        content = cubin.file.read_bytes()
        assert content.startswith(b"\x7fELF")
        assert cubin.symbols["plain"] == "plain"
        assert set(cubin.symbols) == set(NAMES)
        for symbol in cubin.symbols.values():
            assert b"\0.text." + symbol.encode() + b"\0" in content
        assert set(read_resources(cubin.log)) == set(cubin.symbols.values())

    def test_it_is_compiled_once(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        first = compile_it(source)
        monkeypatch.setattr(cubins, "compile_cubin", None)
        assert compile_it(source) == first

    def test_any_change_compiles_again(
        self, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = {compile_it(source).file}
        changed = {"scale.cuh": "#define SCALE 3.f\n"}
        for other in (
            compile_it(replace(source, text=CODE + " ")),
            compile_it(replace(source, headers=changed)),
            compile_it(replace(source, options=("-fmad=false",))),
            compile_it(source, "sm_90"),
            compile_it(source, level=2),
            find_cubin(source, NAMES[:2], "sm_80", {"LEVEL": 1}),
        ):
            assert other.file not in found
            found.add(other.file)
        monkeypatch.setattr(cubins, "nvrtc_version", lambda: (13, 99))
        assert compile_it(source).file not in found

    def test_a_damaged_cubin_is_compiled_again(self, source: Source) -> None:
        first = compile_it(source)
        content = first.file.read_bytes()
        first.file.write_bytes(content[:-1])
        assert compile_it(source).file.read_bytes() == content

    def test_a_file_without_fused_multiply_adds(self, source: Source) -> None:
        fused = compile_it(source).file.read_bytes()
        apart = compile_it(make_source(CODE + "// options: -fmad=false\n", folder=source.folder))
        assert apart.file.read_bytes() != fused

    def test_an_error_is_one_line_with_its_place(self, source: Source) -> None:
        broken = replace(source, text=CODE.replace("= N;", "= M;").replace("= LEVEL", "= LEVLE"))
        with pytest.raises(KernelError, match=r'k\.cu:4: identifier "LEVLE" is undefined') as error:
            compile_it(broken)
        assert "\n" not in str(error.value)
        assert '"M" is undefined' in error.value.__notes__[0]

    def test_a_missing_header_is_named(self, source: Source) -> None:
        assert source.folder is not None
        (source.folder / "scale.cuh").unlink()
        with pytest.raises(KernelError, match=r'k\.cu:2: .*"scale\.cuh"'):
            compile_it(read_source(source.folder / "k.cu"))

    def test_a_kernel_that_is_not_there(self, source: Source) -> None:
        with pytest.raises(KernelError, match="nothing"):
            compile_cubin(source, ["nothing"], "sm_80", {"LEVEL": 1})

    def test_an_architecture_that_is_not_known(self) -> None:
        check_architecture("sm_75")
        with pytest.raises(BackendError, match="this GPU is sm_999: pip install -U nvidia-cuda-nv"):
            check_architecture("sm_999")


def test_no_fast_mathematics(source: Source) -> None:
    options = " ".join(options_for(source, "sm_80", {"A": 1}))
    assert "-arch=sm_80" in options
    assert "-DA=1" in options
    assert not any(word in options for word in ("fast", "ftz", "prec"))


def test_without_the_binding_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"^cuda-bindings is not installed: pip install 'tiny"):
        nvrtc.nvrtc_version()


def test_without_the_library_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    binding = pytest.importorskip("cuda.bindings.nvrtc")

    def fail() -> None:
        raise RuntimeError("Failure finding libnvrtc.so\nand more of it")

    monkeypatch.setattr(binding, "nvrtcVersion", fail)
    with pytest.raises(BackendError, match=r"^NVRTC cannot be loaded \(Failure finding libnvrtc"):
        nvrtc.nvrtc_version()


class TestResources:
    LOG = """\
ptxas info    : 0 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    40 bytes stack frame, 64 bytes spill stores, 52 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 2048 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
"""

    def test_they_are_read_off_the_log(self) -> None:
        assert read_resources(self.LOG) == {
            "first": Resources(64, 116, 2048),
            "second": Resources(8, 0, 0),
        }

    # Numbers of NVIDIA's occupancy calculator.
    @pytest.mark.parametrize(
        ("architecture", "registers", "threads", "shared", "blocks"),
        [
            ("sm_80", 32, 256, 0, 8),  # threads
            ("sm_75", 32, 256, 0, 4),
            ("sm_80", 64, 256, 0, 4),  # registers
            ("sm_80", 65, 256, 0, 3),
            ("sm_80", 16, 32, 0, 32),  # blocks
            ("sm_75", 16, 32, 0, 16),
            ("sm_80", 32, 128, 48 * 1024, 3),  # shared memory, and 1 KiB of each block
            ("sm_75", 32, 128, 32 * 1024, 2),
            ("sm_90", 32, 128, 113 * 1024, 2),
            ("sm_90", 32, 128, 114 * 1024, 1),
            ("sm_75", 32, 128, 64 * 1024 + 1, 0),
            ("sm_90", 255, 1024, 0, 0),
        ],
    )
    def test_resident_blocks(
        self, architecture: str, registers: int, threads: int, shared: int, blocks: int
    ) -> None:
        for static in (0, shared // 2):
            found = Resources(registers, 0, static)
            assert resident_blocks(architecture, found, threads, shared - static) == blocks
