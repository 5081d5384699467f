"""Kernels compiled for a GPU, and kept: a file for `cupy.RawModule`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyyolo3.cuda.nvrtc import compile_cubin, nvrtc_version, options_for
from tinyyolo3.cuda.sources import DEFINES, Source
from tinyyolo3.cuda.store import Entry, digest, load_entry, save_entry


@dataclass(frozen=True)
class Cubin:
    """A compiled kernel file.

    Attributes:
        file: the cubin.
        symbols: each kernel's name in it, by the name it was asked for.
        log: what the compiler said: see `resources.read_resources`.
    """

    file: Path
    symbols: dict[str, str]
    log: str


def find_cubin(
    source: Source,
    names: Sequence[str],
    architecture: str,
    defines: Mapping[str, float] | None = None,
) -> Cubin:
    """Return a kernel file compiled for an architecture, from the store where it has it.

    Args:
        source: the text with its headers.
        names: the kernels that are wanted, with their template arguments if they have any.
        architecture: such as "sm_80".
        defines: macros beside the package's own.

    Raises:
        BackendError: NVRTC is missing, or too old to know the architecture.
        KernelError: the text does not compile.
    """
    source, macros = source.for_gpu, {**DEFINES, **(defines or {})}
    key = cubin_key(source, names, architecture, macros)
    entry = load_entry("cubin", key, ".cubin")
    if entry is None:
        made = compile_cubin(source, names, architecture, macros)
        notes = {"symbols": made.symbols, "log": made.log}
        entry = save_entry("cubin", key, ".cubin", made.cubin, notes)
    return _as_cubin(entry)


def cubin_key(
    source: Source, names: Sequence[str], architecture: str, macros: Mapping[str, float]
) -> str:
    """Return the digest of all that a cubin is made from."""
    version = ".".join(map(str, nvrtc_version()))
    headers = [part for pair in sorted(source.headers.items()) for part in pair]
    options = options_for(source, architecture, macros)
    return digest(version, source.name, source.text, *headers, "options", *options, "names", *names)


def _as_cubin(entry: Entry) -> Cubin:
    return Cubin(entry.file, dict(entry.notes["symbols"]), str(entry.notes["log"]))
