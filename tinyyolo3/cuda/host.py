"""Kernels on the CPU: a ``.cu`` file built with a C++ compiler and run block by block."""

import ctypes
import hashlib
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinyyolo3.activations import ACTIVATIONS
from tinyyolo3.cuda.target import DeviceArray, Kernel
from tinyyolo3.errors import BackendError

FOLDER = Path(__file__).parents[2] / "kernels"
CACHE = Path(os.environ.get("TMPDIR", "/tmp")) / "tinyyolo3-host"
MODES = {
    "fast": "-O2 -march=native -g1 -ffp-contract=off",
    "check": "-O1 -g -ffp-contract=off -fno-inline-functions -fno-tree-vectorize -fsanitize=thread "
    "-fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero,"
    "float-cast-overflow -fsanitize-undefined-trap-on-error -DEMU_CHECK",
}
DEFINES = {f"ACTIVATION_{name.upper()}": code for code, name in enumerate(ACTIVATIONS)}


class KernelError(BackendError):
    """What check mode found wrong in a kernel."""


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("smem", ctypes.c_size_t),
        ("seed", ctypes.c_uint64),
        ("coop", ctypes.c_int),
    ]


def _build(source: str, names: Sequence[str], mode: str, defines: Mapping[str, int]) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    text = "".join(f"#define {k} {v}\n" for k, v in defines.items()) + "#line 1\n" + source + "\n"
    text += "".join(f"EMU_EXPORT(emu_k{i}, {n})\n" for i, n in enumerate(names))
    flags = f"-std=c++17 -fPIC -w -fno-strict-aliasing -ftrivial-auto-var-init=pattern -I{FOLDER}"
    flags += " " + MODES[mode]
    headers = "".join(
        f.read_text() for f in sorted([*FOLDER.rglob("*.h"), *FOLDER.rglob("*.c*h"), *FOLDER.rglob("*.cpp")])
    )
    so = CACHE / (hashlib.sha256((text + headers + flags).encode()).hexdigest()[:20] + ".so")
    if not so.exists():
        src = so.with_suffix(".cpp")
        src.write_text(text)
        rto = CACHE / (hashlib.sha256((headers + mode).encode()).hexdigest()[:20] + ".o")
        tmp = f"{os.getpid()}.tmp"
        if not rto.exists():
            check = ["-DEMU_CHECK"] if mode == "check" else []
            command = ["g++", "-std=c++17", "-O2", "-march=native", "-g", "-fPIC", "-w", "-c", *check]
            command += ["-I", str(FOLDER), str(FOLDER / "host/runtime.cpp"), "-o", f"{rto}{tmp}"]
            subprocess.run(command, check=True)
            os.replace(f"{rto}{tmp}", rto)
        obj = str(so.with_suffix(".o")) + tmp
        done = subprocess.run(["g++", *flags.split(), "-c", str(src), "-o", obj], capture_output=True, text=True)
        if done.returncode:
            raise BackendError(done.stderr)
        subprocess.run(["g++", "-shared", obj, str(rto), "-o", f"{so}{tmp}"], check=True)
        os.replace(f"{so}{tmp}", so)
        os.unlink(obj)
    return so


class HostModule:
    """A ``.cu`` file built for the CPU; mirrors `cupy.RawModule`."""

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        code: str | None = None,
        name_expressions: Sequence[str] = (),
        mode: str = "check",
        defines: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> None:
        source = code if code is not None else Path(path).read_text()
        plain = re.findall(
            r'extern "C" __global__ void(?: __launch_bounds__\([^)]*\))?\s+(\w+)\(', source
        )
        self.names = [*plain, *name_expressions]
        self.so = _build(source, self.names, mode, {**DEFINES, **(defines or {})})
        self.lib = ctypes.CDLL(str(self.so))
        self.mode, self.seed = mode, seed
        self.lib.emu_error.restype = ctypes.c_char_p
        if mode == "check":
            self.lib.emu_check_flags(3)

    def get_function(self, name: str) -> Any:
        number = self.names.index(name)
        function = getattr(self.lib, f"emu_k{number}")
        sizes = (ctypes.c_int * 64)()
        want = list(sizes[: getattr(self.lib, f"emu_k{number}_args")(sizes)])

        def launch(
            grid: tuple[int, ...],
            block: tuple[int, ...],
            args: Sequence[Any],
            *,
            shared_mem: int = 0,
            outputs: Sequence[DeviceArray] = (),
            seed: int | None = None,
        ) -> None:
            g, b = (tuple(t) + (1,) * (3 - len(t)) for t in (grid, block))
            launch = _Launch(
                (ctypes.c_uint * 3)(*g),
                (ctypes.c_uint * 3)(*b),
                shared_mem,
                self.seed if seed is None else seed,
                0,
            )
            hold = []
            for a, size in zip(args, want, strict=True):
                c: Any
                if isinstance(a, np.ndarray):
                    c = ctypes.c_void_p(a.ctypes.data)
                    if self.mode == "check":
                        written = 0 if any(a is o for o in outputs) else 1
                        self.lib.emu_register(c, ctypes.c_size_t(a.nbytes), written)
                elif a is None:
                    c = ctypes.c_void_p(0)
                elif isinstance(a, np.generic):
                    c = np.ctypeslib.as_ctypes_type(a.dtype)(a.item())
                elif isinstance(a, float):
                    c = ctypes.c_float(a) if size == 4 else ctypes.c_double(a)
                elif isinstance(a, int):
                    c = ctypes.c_int(a) if size == 4 else ctypes.c_int64(a)
                else:
                    c = a
                hold.append(c)
            found = [ctypes.sizeof(h) for h in hold]
            if found != want:
                raise KernelError(f"{name}: argument sizes {found}, the kernel takes {want}")
            pointers = (ctypes.c_void_p * len(hold))(*[ctypes.addressof(h) for h in hold])
            rc = function(ctypes.byref(launch), pointers)
            unwritten = 0
            if self.mode == "check":
                for o in outputs:
                    unwritten += self.lib.emu_unwritten(ctypes.c_void_p(o.ctypes.data))
                self.lib.emu_unregister_all()
            if rc:
                raise KernelError(f"{name}: {self._explain(self.lib.emu_error().decode())}")
            if unwritten:
                raise KernelError(f"{name}: {unwritten} output bytes never written")

        return launch

    def _explain(self, message: str) -> str:
        match = re.search(r"pc (0x[0-9a-f]+)", message)
        if not match:
            return message
        self.lib.emu_so_base.restype = ctypes.c_size_t
        offset = int(match[1], 16) - self.lib.emu_so_base() - 1
        command = ["addr2line", "-e", str(self.so), hex(offset)]
        found = subprocess.run(command, capture_output=True, text=True)
        return f"{message} -> {found.stdout.strip()}"


class HostTarget:
    """Runs kernels on the CPU."""

    name = "host"

    def __init__(self, mode: str = "fast", seed: int = 0) -> None:
        self.mode, self.seed = mode, seed
        self._functions: dict[tuple[str, str], Kernel] = {}

    def kernel(self, file: str, name: str) -> Kernel:
        if (file, name) not in self._functions:
            names = [name] if "<" in name else []
            module = HostModule(
                FOLDER / file, name_expressions=names, mode=self.mode, seed=self.seed
            )
            self._functions[file, name] = module.get_function(name)
        return self._functions[file, name]

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        return np.array(array, order="C")

    def empty(self, count: int, dtype: DTypeLike = np.float32) -> DeviceArray:
        array = np.empty(count, dtype)
        array.view(np.uint8)[...] = 0xFF
        return array

    def download(self, array: DeviceArray) -> NDArray[Any]:
        return np.array(array)

    def synchronize(self) -> None:
        pass

    def pinned(self, count: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        return np.empty(count, dtype)

    def copy_in(self, destination: DeviceArray, source: NDArray[Any]) -> None:
        destination[...] = source

    def copy_out(self, destination: NDArray[Any], source: DeviceArray) -> None:
        destination[...] = source

    def capture(self, record: Any) -> Any:
        record()
        return record

    def fork(self) -> "HostTarget":
        return self
