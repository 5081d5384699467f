"""Every kernel compiles for every GPU generation, and takes no more of it than it was designed to.

What a kernel may take stands in `tinyyolo3.cuda.budget`; no GPU is needed.
"""

from functools import cache
from pathlib import Path

import pytest

from tinyyolo3.cuda.budget import ARCHITECTURES, BUDGETS, Budget
from tinyyolo3.cuda.cubins import Cubin, find_cubin
from tinyyolo3.cuda.nvrtc import nvrtc_version
from tinyyolo3.cuda.resources import read_resources, resident_blocks
from tinyyolo3.cuda.signature import kernel_names, read_signature
from tinyyolo3.cuda.sources import Source, kernel_folder, read_source
from tinyyolo3.errors import BackendError

FILES = sorted(path.name for path in kernel_folder().glob("*.cu"))


def reason_against() -> str:
    """Return why nothing can be compiled here, if so."""
    try:
        nvrtc_version()
    except BackendError as problem:
        return str(problem)
    return ""


@cache
def source_of(file: str) -> Source:
    return read_source(kernel_folder() / file)


@cache
def compiled(file: str, architecture: str) -> Cubin:
    """Every kernel of a file that has a row, compiled for one architecture."""
    names = tuple(row.name for row in BUDGETS if row.file == file)
    return find_cubin(source_of(file), names, architecture)


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_has_a_row(file: str) -> None:
    plain, templates = kernel_names(source_of(file).text)
    assert plain or templates, f"{file} defines no kernel"
    rows = {row.name for row in BUDGETS if row.file == file}
    missing = set(plain) - rows
    missing |= set(templates) - {name.partition("<")[0] for name in rows if "<" in name}
    assert not missing, f"add rows to tinyyolo3/cuda/budget.py for {sorted(missing)} of {file}"


def test_every_row_has_a_kernel() -> None:
    assert len({(row.file, row.name) for row in BUDGETS}) == len(BUDGETS)
    for row in BUDGETS:
        signature = read_signature(source_of(row.file).everything, row.name, file=row.file)
        assert signature.max_threads in (None, row.threads), f"{row.name}: launched as compiled for"


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("row", BUDGETS, ids=lambda row: f"{Path(row.file).stem}-{row.name}")
def test_a_kernel_takes_what_its_row_allows(row: Budget, architecture: str) -> None:
    cubin = compiled(row.file, architecture)
    found = read_resources(cubin.log)[cubin.symbols[row.name]]
    blocks = resident_blocks(architecture, found, row.threads, row.shared_bytes)
    said = f"{row.name} on {architecture}: {found}, {blocks} blocks resident"
    wanted = row.blocks[ARCHITECTURES.index(architecture)]
    # One that is too large for an architecture is never launched there.
    assert found.spill_bytes == 0 or wanted == 0, said
    assert found.registers <= row.registers, said
    assert blocks >= wanted, said
