"""Which tile a convolution on tensor cores takes: as measured on this GPU, or as the model says.

Measurements lie beside this file, ``tensor_<device>.json``, written by
``benchmarks/gpu_keep.py``; a row for each convolution and precision.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

from tinyyolo3.layers.convolution.cuda_algorithms import Gpu, Problem
from tinyyolo3.layers.convolution.cuda_mma_tiles import PRECISIONS, MmaTile, Precision
from tinyyolo3.layers.convolution.cuda_tensor import (
    TensorTile,
    instance_of,
    tensor_candidates,
    tensor_instances,
)
from tinyyolo3.layers.convolution.cuda_wgmma_tiles import WgmmaTile

#: The tiles of convolutions, by precision's name.
Choices = Mapping[tuple[str, Problem], TensorTile]
#: What files call the kernels.
KERNELS: dict[str, type[TensorTile]] = {"mma": MmaTile, "wgmma": WgmmaTile}


@cache
def choose_tensor_tile(problem: Problem, precision: Precision, gpu: Gpu) -> TensorTile:
    """Return the quickest tile: as measured on the GPU, or else with the least modelled time.

    Stream-K is only taken where it was measured to be quickest.
    """
    measured = _measured(gpu.name).get((precision.name, problem))
    if measured is not None:
        return measured
    candidates = tensor_candidates(problem, precision, gpu)
    fitting = ((tile, us) for tile, us in candidates if tile.shared_bytes <= gpu.shared_bytes)
    return min(fitting, key=lambda pair: pair[1])[0]


@cache
def _measured(device: str) -> Choices:
    file = choices_file(device)
    if not device or not file.is_file():
        return {}
    return read_choices(json.loads(file.read_text()))


def read_choices(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, Problem], TensorTile]:
    """Return the tiles of such a file's rows; what only other versions know is left out."""
    known = {name: tensor_instances(precision) for name, precision in PRECISIONS.items()}
    choices = (read_choice(row) for row in rows if row["tile"][0] in KERNELS)
    return {row: tile for row, tile in choices if instance_of(tile) in known[row[0]]}


def read_choice(row: dict[str, Any]) -> tuple[tuple[str, Problem], TensorTile]:
    """Return a row of such a file: a precision and a convolution, and their tile."""
    return (row["precision"], read_problem(row["problem"])), read_tile(row["tile"])


def read_problem(numbers: Sequence[Any]) -> Problem:
    """Return a convolution from what JSON makes of it."""
    images, height, width, channels, filters, size, stride, dilation = numbers
    sides = (images, height, width, channels, filters, size)
    return Problem(*sides, (stride[0], stride[1]), dilation)


def read_tile(named: Sequence[Any]) -> TensorTile:
    """Return a tile from its kernel's name and its numbers."""
    kernel, *numbers = named
    return KERNELS[kernel](*numbers)


def named_tile(tile: TensorTile) -> list[Any]:
    """Return a tile as JSON has it: its kernel's name and its numbers, `blocks` for stream-K."""
    name = next(name for name, kind in KERNELS.items() if isinstance(tile, kind))
    numbers = astuple(tile)
    return [name, *(numbers if tile.blocks else numbers[:-1])]


def choices_file(device: str) -> Path:
    """Return where a device's measurements are kept."""
    words = "".join(c if c.isalnum() else " " for c in device.lower()).split()
    return Path(__file__).with_name(f"tensor_{'_'.join(words)}.json")


def choices_text(choices: Choices) -> str:
    """Return the contents of such a file, a line for each convolution."""
    lines = (
        json.dumps({"precision": name, "problem": astuple(problem), "tile": named_tile(tile)})
        for (name, problem), tile in sorted(
            choices.items(), key=lambda row: (row[0][0], astuple(row[0][1]))
        )
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"
