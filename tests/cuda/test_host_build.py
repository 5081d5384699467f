"""Kernels are built for the CPU with whatever compiler there is, and built again after a change."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinyyolo3.cuda import host_build
from tinyyolo3.cuda.host_build import build_library, find_compiler
from tinyyolo3.cuda.messages import first_error
from tinyyolo3.cuda.sources import Source, make_source, read_source
from tinyyolo3.cuda.store import PLACE_VARIABLE
from tinyyolo3.errors import BackendError, KernelError
from tinyyolo3.testing import HostModule

CODE = """
#include "mine/scale.cuh"
extern "C" __global__ void scale(float* x) { x[threadIdx.x] *= SCALE; }
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A file with a header in a folder of its own, and an empty store."""
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/scale.cuh").write_text('#include "factor.cuh"\n#define SCALE FACTOR\n')
    (tmp_path / "mine/factor.cuh").write_text("#define FACTOR 2.f\n")
    (tmp_path / "k.cu").write_text(CODE)
    return read_source(tmp_path / "k.cu")


def test_headers_of_ones_own_are_found_and_are_part_of_the_key(source: Source) -> None:
    assert source.folder is not None
    file = source.folder / "k.cu"
    x = np.ones(4, np.float32)
    HostModule(file, mode="fast").get_function("scale")((1,), (4,), (x,))
    assert x.tolist() == [2, 2, 2, 2]
    (source.folder / "mine/factor.cuh").write_text("#define FACTOR 3.f\n")
    HostModule(file, mode="fast").get_function("scale")((1,), (4,), (x,))
    assert x.tolist() == [6, 6, 6, 6]


def test_a_library_is_built_once_for_all_that_it_is_made_from(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    monkeypatch.setattr(host_build, "_link", lambda *_: b"linked")
    monkeypatch.setattr(host_build, "_runtime_object", lambda *_: b"")

    def compile_it(_compiler: object, text: str, *_: object) -> bytes:
        built.append(text)
        return b""

    monkeypatch.setattr(host_build, "_compile", compile_it)

    def build(of: Source = source, mode: str = "fast", level: int = 1) -> Path:
        return build_library(of, ["scale"], mode, {"LEVEL": level})

    first = build()
    assert build() == first
    assert len(built) == 1
    others = [
        build(replace(source, text=CODE + "\n")),
        build(replace(source, headers={**source.headers, "factor.cuh": ""})),
        build(mode="check"),
        build(level=2),
        build_library(source, [], "fast", {"LEVEL": 1}),
    ]
    monkeypatch.setattr(host_build, "_processor", lambda: "another processor")
    others.append(build())
    compiler = replace(find_compiler(), version="another version")
    monkeypatch.setattr(host_build, "find_compiler", lambda: compiler)
    others.append(build())
    real = read_source
    for suffix in (".cpp", ".h"):  # the run time, and the words that kernels are written in

        def changed(file: Path, suffix: str = suffix) -> Source:
            found = real(file)
            return replace(found, text=found.text + "\n") if file.suffix == suffix else found

        monkeypatch.setattr(host_build, "read_source", changed)
        others.append(build())
    assert len({first, *others}) == 10
    assert len(built) == 10


def test_the_run_time_is_built_once_for_all_kernels(source: Source) -> None:
    build_library(source, ["scale"], "fast")
    objects = [p for p in Path(os.environ[PLACE_VARIABLE], "host").iterdir() if p.suffix == ".o"]
    again = replace(source, text=CODE + "\n")
    build_library(again, ["scale"], "fast")
    assert objects == [
        p for p in Path(os.environ[PLACE_VARIABLE], "host").iterdir() if p.suffix == ".o"
    ]


def test_a_damaged_library_is_built_again(source: Source) -> None:
    file = build_library(source, ["scale"], "fast")
    file.write_bytes(file.read_bytes()[:1000])
    again = build_library(source, ["scale"], "fast")
    assert again == file
    assert again.stat().st_size > 1000


def test_an_error_has_the_line_of_the_users_file(source: Source) -> None:
    assert source.folder is not None
    file = source.folder / "k.cu"
    file.write_text(CODE.replace("*= SCALE", "*= SCALE + oops"))
    with pytest.raises(KernelError, match=r"k\.cu:3: .*oops.* not declared|undeclared") as error:
        HostModule(file)
    assert "\n" not in str(error.value)
    assert "oops" in error.value.__notes__[0]


def test_an_error_in_a_header_has_the_headers_line(source: Source) -> None:
    assert source.folder is not None
    (source.folder / "mine/factor.cuh").write_text("#define FACTOR 1\n\nint x = oops;\n")
    with pytest.raises(KernelError, match=r"mine/factor\.cuh:3: "):
        HostModule(source.folder / "k.cu")


class TestCompilers:
    @pytest.fixture(autouse=True)
    def no_choice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CXX", raising=False)

    def test_without_one_a_sentence_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(
            BackendError, match=r"needs a C\+\+ compiler on PATH \(g\+\+, clang\+\+, c\+\+\)"
        ):
            find_compiler()

    def test_cxx_is_asked_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = find_compiler().command[0]
        monkeypatch.setenv("CXX", f"{path} -pipe")
        assert find_compiler().command == (path, "-pipe")

    @pytest.mark.parametrize("command", ["no-such-compiler", sys.executable + " -c 1/0"])
    def test_a_choice_that_does_not_run_is_named(
        self, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        monkeypatch.setenv("CXX", command)
        with pytest.raises(BackendError, match=r"^CXX: .* does not run"):
            find_compiler()

    def test_one_that_is_too_old_is_named(
        self, monkeypatch: pytest.MonkeyPatch, source: Source, tmp_path: Path
    ) -> None:
        old = tmp_path / "old++"
        old.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo old++ 4.8 && exit 0\n'
            'echo "old++: error: unrecognized option -std=c++17" >&2\nexit 1\n'
        )
        old.chmod(0o755)
        monkeypatch.setenv("CXX", str(old))
        message = r"old\+\+: .*unrecognized option -std=c\+\+17; g\+\+ 12 or clang\+\+ 15, or later"
        with pytest.raises(BackendError, match=message):
            build_library(source, ["scale"], "fast")

    def test_the_first_on_path_is_taken(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        real = shutil.which("c++") or find_compiler().command[0]
        (tmp_path / "clang++").symlink_to(real)
        (tmp_path / "c++").symlink_to(real)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_compiler().command == (str(tmp_path / "clang++"),)

    def test_only_under_linux(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(BackendError, match="under Linux only"):
            find_compiler()

    def test_a_processor_is_told_by_its_instructions(self) -> None:
        assert host_build._processor() == host_build._processor.__wrapped__()
        assert len(host_build._processor()) > 10


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("k.cu:3:5: error: no\nk.cu:9:1: error: never\n", "k.cu:3: no (and 1 more)"),
        ("In file included:\nk.cu:3:10: fatal error: a.h: none\n", "k.cu:3: a.h: none"),
        (
            '/a b/k.cu(12): error: identifier "x" is undefined\n',
            '/a b/k.cu:12: identifier "x" is un',
        ),
        ("k.cu(2): catastrophic error: cannot open\n", "k.cu:2: cannot open"),
        ("k.cu:3:5: warning: error: none\n", None),
        ("", None),
    ],
)
def test_a_compilers_first_error_is_one_line(answer: str, found: str | None) -> None:
    assert (first_error(answer) or "").startswith(found or "")
    assert (first_error(answer) is None) == (found is None)


def test_text_without_a_file_has_lines_too() -> None:
    with pytest.raises(KernelError, match=r"^code\.cu:2: "):
        HostModule(code="\nint x = oops;\n")
    assert make_source("").name == "code.cu"
