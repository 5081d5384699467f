"""Kernels built for the CPU: a ``.cu`` file with its stand-in for a GPU, as a shared library.

The library is made of the kernel's text, between the vocabulary of ``kernels/host/cuda.h`` and one
exported function for each kernel, and of the run time beside that header. Everything that takes
part is in the library's key in the store, the compiler's version and the processor included:
``-march=native`` makes code that another processor may not know.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tinyyolo3.cuda.messages import first_error
from tinyyolo3.cuda.sources import DEFINES, HOST, Source, kernel_folder, read_source
from tinyyolo3.cuda.store import digest, load_entry, save_entry
from tinyyolo3.errors import BackendError, KernelError

#: What is looked for when CXX does not name a compiler.
COMPILERS = ("g++", "clang++", "c++")
#: The first that know the flags below and 16-bit floats.
WANTED = "g++ 12 or clang++ 15, or later,"
#: a*b+c rounds twice, as everywhere else in the package; locals start as nonsense, not as zero.
#: What two libraries call by one name stays two things. addr2line mistakes file names in DWARF 5.
_COMMON = (
    "-std=c++17 -fPIC -w -fno-strict-aliasing -ffp-contract=off -ftrivial-auto-var-init=pattern "
    "-fvisibility=hidden -gdwarf-4"
)
#: Flags of each mode for kernels. Check mode takes the calls that -fsanitize=thread puts at every
#: access, and none of its library: the run time defines them.
MODES = {
    "fast": f"{_COMMON} -O2 -march=native -g1",
    "check": f"{_COMMON} -O1 -g -fno-inline-functions -fno-tree-vectorize -fsanitize=thread "
    "-fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero,"
    "float-cast-overflow -fno-sanitize-recover=all -DHOST_CHECK",
}
#: clang says nothing of a read that a write to the same place follows, unless it is told to.
_CLANG_CHECK = "-mllvm -tsan-instrument-read-before-write=1"
#: Flags of each mode for the run time.
_RUNTIME = "-std=c++17 -O2 -march=native -g -fPIC -w"
_RUNTIME_MODES = {"fast": _RUNTIME, "check": f"{_RUNTIME} -DHOST_CHECK"}


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler.

    Attributes:
        command: how it is called.
        version: what it says of itself.
    """

    command: tuple[str, ...]
    version: str


def build_library(
    source: Source, names: Sequence[str], mode: str, defines: Mapping[str, float] | None = None
) -> Path:
    """Return a shared library with a function for each kernel, from the store where it has it.

    Args:
        source: the kernel file.
        names: the kernels that are wanted; number i becomes the symbol ``host_k<i>``.
        mode: of `MODES`.
        defines: macros beside the package's own.

    Raises:
        BackendError: there is no C++ compiler, it is too old, or not for this system.
        KernelError: the text does not compile; the compiler's whole answer is in its notes.
    """
    compiler = find_compiler()
    macros = "".join(f"#define {n} {v}\n" for n, v in {**DEFINES, **(defines or {})}.items())
    exports = "".join(f"HOST_EXPORT(host_k{i}, {name})\n" for i, name in enumerate(names))
    text = (
        f'{macros}#include "{HOST}cuda.h"\n#line 1 {_quoted(source.name)}\n{source.text}\n'
        f'#line 1 "<exports>"\n{exports}'
    )
    runtime = sorted((kernel_folder() / HOST).glob("*.cpp"))
    vocabulary = read_source(kernel_folder() / HOST / "cuda.h")
    headers = [part for pair in sorted(source.headers.items()) for part in pair]
    flags = MODES[mode]
    if mode == "check" and "clang" in compiler.version:
        flags = f"{flags} {_CLANG_CHECK}"
    # The folder too: debug information names the headers by it, which `source_lines` relies on.
    key = digest(
        *_circumstances(compiler), flags, str(kernel_folder()), text, *headers,
        vocabulary.everything, _RUNTIME_MODES[mode],
        *(read_source(file).everything for file in runtime),
    )  # fmt: skip
    entry = load_entry("host", key, ".so")
    if entry is None:
        folders = [source.folder] if source.folder is not None else []
        made = _compile(compiler, text, flags, folders, source.name)
        objects = [_runtime_object(compiler, file, mode) for file in runtime]
        entry = save_entry("host", key, ".so", _link(compiler, made, objects), {})
    return entry.file


def find_compiler() -> Compiler:
    """Return the compiler that CXX names, or else the first one on PATH.

    Raises:
        BackendError: there is none, or kernels cannot run on the CPU of this system.
    """
    if sys.platform != "linux":
        raise BackendError("CUDA kernels run on the CPU under Linux only")
    chosen = os.environ.get("CXX")
    if chosen:
        return _compiler(tuple(shlex.split(chosen)), "CXX")
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return _compiler((path,), name)
    wanted = ", ".join(COMPILERS)
    raise BackendError(f"running CUDA kernels on the CPU needs a C++ compiler on PATH ({wanted})")


@cache
def _compiler(command: tuple[str, ...], name: str) -> Compiler:
    try:
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise BackendError(f"{name}: {shlex.join(command)} does not run: {problem}") from None
    return Compiler(command, answer.stdout.strip())


@cache
def _processor() -> str:
    """Return what -march=native depends on: the kind of processor and its instructions."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.partition(":")[0].strip() in ("flags", "Features"):
                return f"{platform.machine()} {line}"
    return f"{platform.machine()} {platform.processor()}"


def _circumstances(compiler: Compiler) -> tuple[str, ...]:
    return (*compiler.command, compiler.version, _processor())


def _runtime_object(compiler: Compiler, file: Path, mode: str) -> bytes:
    """Return one file of the run time, compiled."""
    source = read_source(file)
    key = digest(*_circumstances(compiler), _RUNTIME_MODES[mode], source.everything)
    entry = load_entry("host", key, ".o")
    if entry is None:
        text = f"#line 1 {_quoted(source.name)}\n{source.text}"
        made = _compile(compiler, text, _RUNTIME_MODES[mode], [file.parent], source.name)
        entry = save_entry("host", key, ".o", made, {})
    return entry.file.read_bytes()


def _compile(
    compiler: Compiler, text: str, flags: str, folders: Sequence[Path], name: str
) -> bytes:
    """Return a text as an object file; `folders` are searched for its own headers first."""
    with tempfile.TemporaryDirectory(prefix="tinyyolo3-") as folder:
        source, made = Path(folder, "kernel.cpp"), Path(folder, "kernel.o")
        source.write_text(text)
        quotes = [argument for place in folders for argument in ("-iquote", str(place))]
        places = [*quotes, "-I", str(kernel_folder())]
        arguments = [*flags.split(), *places, "-c", str(source), "-o", str(made)]
        _run(compiler, arguments, name)
        return made.read_bytes()


def _link(compiler: Compiler, kernel: bytes, runtime: Sequence[bytes]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tinyyolo3-") as folder:
        objects = []
        for number, content in enumerate([kernel, *runtime]):
            objects.append(Path(folder, f"{number}.o"))
            objects[-1].write_bytes(content)
        made = Path(folder, "kernel.so")
        _run(compiler, ["-shared", *map(str, objects), "-o", str(made)], "linking")
        return made.read_bytes()


def _run(compiler: Compiler, arguments: Sequence[str], name: str) -> None:
    command = [*compiler.command, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if not done.returncode:
        return
    answer = done.stderr.strip() or f"ended with {done.returncode}"
    said = first_error(answer)
    error = (
        KernelError(said)
        if said
        else BackendError(f"{name}: {command[0]}: {answer.splitlines()[-1]}; {WANTED} expected")
    )
    error.add_note(answer)
    raise error


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
