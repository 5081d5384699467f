"""Which tile a convolution on tensor cores takes: as measured on this GPU, or as the model says.

Measurements lie beside this file, ``mma_<device>.json``, written by
``benchmarks/gpu_keep.py``; a row for each convolution and precision.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import (
    INSTANCES,
    MmaTile,
    Precision,
    choose_mma_tile,
    mma_terms,
)
from tinyyolo3.layers.convolution.cuda_tiles import Product

#: The tiles of convolutions, by precision's name.
Choices = Mapping[tuple[str, Problem], MmaTile]


def mma_product(problem: Problem, precision: Precision) -> Product:
    """Return the matrix product that tensor cores compute."""
    terms = mma_terms(problem.channels, problem.size, precision)
    return Product(problem.images * problem.height * problem.width, problem.filters, terms)


@cache
def choose_mma(problem: Problem, precision: Precision, gpu: Gpu) -> MmaTile:
    """Return the quickest tile: as measured on the GPU, or else with the least modelled time."""
    measured = _measured(gpu.name).get((precision.name, problem))
    if measured is not None:
        return measured
    product, taps = mma_product(problem, precision), problem.size**2
    return choose_mma_tile(product, precision, taps, gpu.multiprocessors, gpu.shared_bytes)


@cache
def _measured(device: str) -> Choices:
    file = choices_file(device)
    if not device or not file.is_file():
        return {}
    rows = dict(map(read_choice, json.loads(file.read_text())))
    # A file from a version with other instances is not to bring them back.
    known = {row: replace(tile, parts=1, cached=False) in INSTANCES for row, tile in rows.items()}
    return {row: tile for row, tile in rows.items() if known[row]}


def read_choice(row: dict[str, Any]) -> tuple[tuple[str, Problem], MmaTile]:
    """Return a row of such a file: a precision and a convolution, and their tile."""
    return (row["precision"], read_problem(row["problem"])), MmaTile(*row["tile"])


def read_problem(numbers: Sequence[Any]) -> Problem:
    """Return a convolution from what JSON makes of it."""
    images, height, width, channels, filters, size, stride, dilation = numbers
    sides = (images, height, width, channels, filters, size)
    return Problem(*sides, (stride[0], stride[1]), dilation)


def choices_file(device: str) -> Path:
    """Return where a device's measurements are kept."""
    words = "".join(c if c.isalnum() else " " for c in device.lower()).split()
    return Path(__file__).with_name(f"mma_{'_'.join(words)}.json")


def choices_text(choices: Choices) -> str:
    """Return the contents of such a file, a line for each convolution."""
    lines = (
        json.dumps({"precision": name, "problem": astuple(problem), "tile": astuple(tile)})
        for (name, problem), tile in sorted(
            choices.items(), key=lambda row: (row[0][0], astuple(row[0][1]))
        )
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"
