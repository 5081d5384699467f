"""A kernel file on the CPU, in the manner of `cupy.RawModule`: one fiber for each CUDA thread.

    module = HostModule("my_kernels.cu")
    scale = module.get_function("scale")
    scale((4,), (256,), (x, y, np.float32(2.0), x.size), outputs=(y,))

x and y are NumPy arrays. In *check* mode every access is watched: a race, a barrier that not all
threads reach, an access outside the arrays, a read of what nobody has written and an output that
stays unwritten raise `KernelError`, with the block, the thread and the line. *fast* mode checks
what costs no time.
"""

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyyolo3.cuda.arguments import Converted, check_launch, check_outputs, convert_arguments
from tinyyolo3.cuda.host_build import MODES, build_library
from tinyyolo3.cuda.signature import Parameter, Signature, kernel_names, read_signature
from tinyyolo3.cuda.source_lines import with_source_lines
from tinyyolo3.cuda.sources import make_source, read_source
from tinyyolo3.errors import InputError, KernelError

#: The run time has one set of fibers and signal handlers.
_LAUNCHING = threading.Lock()


class _Launch(ctypes.Structure):
    """`host::Launch` of ``kernels/host/export.h``."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_size_t),
        ("seed", ctypes.c_uint64),
    )


class HostModule:
    """The kernels of a file, built for the CPU.

    Args:
        path: the ``.cu`` file; it may include headers beside it, and the package's.
        code: its text, instead of a file.
        name_expressions: the instances of templates that are wanted: "copy<float, 4>".
        mode: "check" or "fast".
        defines: macros.
        seed: of the order in which threads and blocks run, and asynchronous copies land; 0 is the
            natural order. A run can be repeated with the seed that it had.

    Raises:
        InputError: not one of `path` and `code`, or an unknown mode.
        BackendError: there is no C++ compiler.
        KernelError: the file cannot be read or does not compile.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        code: str | None = None,
        name_expressions: Sequence[str] = (),
        mode: str = "check",
        defines: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        if (path is None) == (code is None):
            raise InputError("HostModule: either a path or code expected")
        if mode not in MODES:
            raise InputError(f"HostModule: mode {mode!r}: one of {', '.join(MODES)} expected")
        self.mode, self.seed = mode, seed
        self.source = read_source(Path(path)) if path is not None else make_source(code or "")
        plain, _ = kernel_names(self.source.text)
        self.names = [*plain, *name_expressions]
        self._file = build_library(self.source, self.names, mode, defines)
        self._library = ctypes.CDLL(str(self._file))
        self._library.host_error.restype = ctypes.c_char_p
        self._library.host_library_base.restype = ctypes.c_size_t
        if mode == "check":
            self._library.host_unwritten.restype = ctypes.c_size_t

    def get_function(self, name: str) -> "HostKernel":
        """Return a kernel.

        Raises:
            KernelError: the file has no such kernel, or it is a template's instance that
                `name_expressions` did not name.
        """
        signature = read_signature(self.source.everything, name, file=self.source.name)
        if name not in self.names:
            raise KernelError(f"{self.source.name}: {name!r} is not among the name_expressions")
        return HostKernel(self, signature, self.names.index(name))

    def explain(self, message: str) -> str:
        """Return the run time's message with source lines instead of addresses."""
        base = int(self._library.host_library_base())
        return with_source_lines(message, self._file, base, self.source)


class HostKernel:
    """One kernel of a `HostModule`."""

    def __init__(self, module: HostModule, signature: Signature, number: int) -> None:
        self.signature = signature
        self._module, self._library = module, module._library
        self._function = getattr(self._library, f"host_k{number}")
        sizes = (ctypes.c_int * 256)()
        self.sizes = list(sizes[: getattr(self._library, f"host_k{number}_args")(sizes)])

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        outputs: Sequence[NDArray[Any]] = (),
        unwritten: Sequence[NDArray[Any]] = (),
        seed: int | None = None,
    ) -> None:
        """Run the kernel, and return when all of its threads have ended.

        Args:
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            args: NumPy arrays, None for a null pointer, numbers, `ctypes.Structure`s.
            shared_mem: bytes of dynamic shared memory.
            outputs: arrays of which the kernel must write every byte, and reads none before;
                looked at in check mode.
            unwritten: arrays of which the kernel may read only what it has written; the same.
            seed: instead of the module's.

        Raises:
            KernelError: the arguments do not fit, or the kernel does what it must not.
        """
        grid, block = check_launch(self.signature, grid, block)
        given = convert_arguments(self.signature, args, np.ndarray)
        check_outputs(self.signature, args, outputs)
        values = [_value(*pair) for pair in zip(self.signature.parameters, given, strict=True)]
        self._check_sizes(values)
        seed = self._module.seed if seed is None else seed
        sizes = ((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block))
        launch = _Launch(*sizes, shared_mem, seed)
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        with _LAUNCHING:
            regions = self._register(given, outputs, unwritten)
            try:
                failed = self._function(ctypes.byref(launch), pointers)
                answer = self._library.host_error().decode(errors="replace")
                missing = "" if failed else self._missing(regions, outputs)
            finally:
                if regions:
                    self._library.host_unregister_all()
        place = f"{self._module.source.name}: {self.signature.name}"
        if failed:
            raise KernelError(f"{place}: {self._module.explain(answer)}")
        if missing:
            raise KernelError(f"{place}: never written: {missing}")

    def _check_sizes(self, values: Sequence[NDArray[Any]]) -> None:
        """Refuse a struct that has not the size that the compiler gave it."""
        for parameter, value, size in zip(
            self.signature.parameters, values, self.sizes, strict=True
        ):
            if value.nbytes != size:
                raise KernelError(
                    f"{self.signature.name}: {parameter.name}: {size} bytes "
                    f"({parameter.type}) expected, found {value.nbytes}"
                )

    def _register(
        self,
        arguments: Sequence[Converted],
        outputs: Sequence[NDArray[Any]],
        unwritten: Sequence[NDArray[Any]],
    ) -> list["_Region"]:
        """Tell the run time which memory there is, and return it; only in check mode."""
        if self._module.mode != "check":
            return []
        regions = _find_regions(self.signature.parameters, arguments, [*outputs, *unwritten])
        for region in regions:
            address, size = ctypes.c_void_p(region.first), ctypes.c_size_t(region.size)
            self._library.host_register(address, size, int(region.written), region.names.encode())
        return regions

    def _missing(self, regions: Sequence["_Region"], outputs: Sequence[NDArray[Any]]) -> str:
        """Return in words which bytes of the outputs nobody has written; empty if all are."""
        wanted = {(output.ctypes.data, output.ctypes.data + output.nbytes) for output in outputs}
        words = []
        for region in regions:
            if region.written or (region.first, region.end) not in wanted:
                continue
            start = ctypes.c_size_t()
            address = ctypes.c_void_p(region.first)
            count = self._library.host_unwritten(address, ctypes.byref(start))
            if count:
                words.append(
                    f"{count} of {region.size} bytes of {region.names}, from byte {start.value} on"
                )
        return "; ".join(words)


@dataclass(frozen=True)
class _Region:
    """Memory that a kernel may touch: an array, or several that overlap."""

    first: int
    end: int
    written: bool
    names: str

    @property
    def size(self) -> int:
        return self.end - self.first


def _find_regions(
    parameters: Sequence[Parameter],
    arguments: Sequence[Converted],
    fresh: Sequence[NDArray[Any]],
) -> list[_Region]:
    """Return the memory of a launch's arrays; those of `fresh` have no contents yet."""
    pairs = zip(parameters, arguments, strict=True)
    arrays = [(p.name, a) for p, a in pairs if p.is_pointer and a is not None]
    ids, fresh_ids = [id(array) for _, array in arrays], {id(array) for array in fresh}
    spans = [
        _Region(
            array.ctypes.data,
            array.ctypes.data + array.nbytes,
            id(array) not in fresh_ids or ids.count(id(array)) > 1,
            name,
        )
        for name, array in arrays
    ]
    regions: list[_Region] = []
    for span in sorted(spans, key=lambda span: span.first):
        if regions and span.first < regions[-1].end:
            last = regions.pop()
            end, written = max(span.end, last.end), span.written or last.written
            span = _Region(last.first, end, written, f"{last.names}, {span.names}")
        regions.append(span)
    return regions


def _value(parameter: Parameter, argument: Converted) -> NDArray[Any]:
    """Return what the kernel is handed: a number or struct itself, of an array the address."""
    if not parameter.is_pointer:
        return np.asarray(argument)
    return np.array([0 if argument is None else argument.ctypes.data], np.uint64)
