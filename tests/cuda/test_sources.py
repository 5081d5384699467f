"""A kernel's text is found with every header that takes part in it."""

import shutil
from pathlib import Path

import pytest

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.sources import DEFINES, kernel_folder, make_source, read_source
from tinyyolo3.errors import KernelError


def test_the_package_has_its_kernels() -> None:
    source = read_source(kernel_folder() / "maxpool.cu")
    assert {"pixelwise.cuh", "device.cuh"} <= set(source.headers)
    assert {"host/cuda.h", "host/half.h"} == set(source.headers) - set(source.for_gpu.headers)
    assert all(header in source.everything for header in source.headers.values())


@pytest.mark.parametrize("inside", [True, False], ids=["installed", "checkout"])
def test_kernels_lie_in_the_package_or_beside_it(tmp_path: Path, inside: bool) -> None:
    package = tmp_path / "tinyyolo3"
    package.mkdir()
    kernels = (package if inside else tmp_path) / "kernels"
    kernels.mkdir()
    with pytest.raises(KernelError, match=r"kernels: the package's CUDA kernels are missing"):
        kernel_folder(package)  # a folder of that name alone is anybody's
    shutil.copy(kernel_folder() / "device.cuh", kernels)
    assert kernel_folder(package) == kernels


def test_headers_are_looked_for_beside_the_file_that_includes_them(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "k.cu").write_text('#include "mine/a.cuh"\n# include "device.cuh"\n#include <x>\n')
    (tmp_path / "mine/a.cuh").write_text('#include "b.cuh"\n')
    (tmp_path / "mine/b.cuh").write_text("int b;\n")
    found = read_source(tmp_path / "k.cu").headers
    assert found["mine/a.cuh"] == '#include "b.cuh"\n'
    assert found["b.cuh"] == "int b;\n"
    assert "device.cuh" in found


def test_headers_that_include_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text('#include "a.cuh"\n')
    (tmp_path / "a.cuh").write_text('#include "b.cuh"\n')
    (tmp_path / "b.cuh").write_text('#include "a.cuh"\n')
    assert set(read_source(tmp_path / "k.cu").headers) == {"a.cuh", "b.cuh"}


def test_two_headers_of_one_name_are_refused(tmp_path: Path) -> None:
    """Compilers are handed headers by name."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "k.cu").write_text('#include "sub/a.cuh"\n#include "b.cuh"\n')
    (tmp_path / "sub/a.cuh").write_text('#include "b.cuh"\n')
    (tmp_path / "sub/b.cuh").write_text("")
    (tmp_path / "b.cuh").write_text("")
    with pytest.raises(KernelError, match=r"k\.cu: .*b\.cuh and .*b\.cuh are both 'b\.cuh' to it"):
        read_source(tmp_path / "k.cu")


def test_a_file_may_have_options_of_its_own() -> None:
    assert make_source("int a;\n// options: -fmad=false -DX=1\n").options == (
        "-fmad=false",
        "-DX=1",
    )
    assert make_source("int a;  // options: none\n").options == ()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"none\.cu: cannot be read: No such file"):
        read_source(tmp_path / "none.cu")
    (tmp_path / "bytes.cu").write_bytes(b"\xff\xfe")
    with pytest.raises(KernelError, match=r"bytes\.cu: is not text"):
        read_source(tmp_path / "bytes.cu")


def test_kernels_know_the_activations() -> None:
    codes = {name: DEFINES[f"ACTIVATION_{name.upper()}"] for name in ACTIVATIONS}
    assert list(codes.values()) == list(range(len(ACTIVATIONS)))
