"""The transforms of Winograd's convolution, as straight-line vector code written by the matrices.

A tile of ``extent × extent`` pixels becomes ``products²`` vectors (`B d Bᵀ`), and as many sums
become ``m × m`` output pixels (`A s Aᵀ`), a block of channels at a time. The matrices are small and
half zeros, so their products are written out: a zero costs nothing, a one no multiplication, and
two rows that differ in signs only (the points p and −p) share their even and their odd part.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from tinyyolo3.engine.cpu.program import CodePointer, code_pointer
from tinyyolo3.engine.cpu.toom_cook import FILTERINGS, Filtering, Matrix
from tinyyolo3.engine.cpu.vectors import (
    BLOCK,
    Emit,
    integer,
    kernel,
    leaky,
    load,
    multiply_add,
    shift,
    splat,
    store,
    vector,
)

#: Entries below this are zeros that the construction rounded.
ZERO = 1e-12


def combine(builder: ir.IRBuilder, row: Sequence[float], vectors: Sequence[Any]) -> Any:
    """Write ``Σ row[i] * vectors[i]`` with as few operations as it takes."""
    terms = [(c, v) for c, v in zip(row, vectors, strict=True) if abs(c) > ZERO]
    terms.sort(key=lambda term: (abs(term[0] - 1) > ZERO, abs(term[0] + 1) < ZERO))
    total = None
    for coefficient, value in terms:
        one, minus = abs(coefficient - 1) < ZERO, abs(coefficient + 1) < ZERO
        if total is None:
            total = value if one else builder.fmul(value, vector(coefficient))
        elif one:
            total = builder.fadd(total, value)
        elif minus:
            total = builder.fsub(total, value)
        else:
            total = multiply_add(builder, value, vector(coefficient), total)
    return vector(0.0) if total is None else total


def apply_rows(builder: ir.IRBuilder, matrix: Matrix, vectors: Sequence[Any]) -> list[Any]:
    """Write ``matrix @ vectors``, sharing work between *rows* that differ in signs only."""
    results: list[Any] = []
    while len(results) < len(matrix):
        row = matrix[len(results)]
        following = matrix[len(results) + 1] if len(results) + 1 < len(matrix) else None
        if following is not None and _differ_in_signs(row, following):
            even = combine(builder, (row + following) / 2, vectors)
            odd = combine(builder, (row - following) / 2, vectors)
            results += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            results.append(combine(builder, row, vectors))
    return results


def apply_columns(builder: ir.IRBuilder, matrix: Matrix, vectors: Sequence[Any]) -> list[Any]:
    """Write ``matrix @ vectors``, sharing work between *columns* that differ in signs only."""
    columns: list[Any] = []
    values: list[Any] = []
    j = 0
    while j < len(vectors):
        column = matrix[:, j]
        following = matrix[:, j + 1] if j + 1 < len(vectors) else None
        if following is not None and _differ_in_signs(column, following):
            columns += [(column + following) / 2, (column - following) / 2]
            values.append(builder.fadd(vectors[j], vectors[j + 1]))
            values.append(builder.fsub(vectors[j], vectors[j + 1]))
            j += 2
        else:
            columns.append(column)
            values.append(vectors[j])
            j += 1
    return [combine(builder, row, values) for row in np.array(columns).T]


def _differ_in_signs(x: Matrix, y: Matrix) -> bool:
    same = np.abs(np.abs(x) - np.abs(y)).max() < ZERO
    return bool(same and np.count_nonzero(np.abs(x) > ZERO) > 2 and np.abs(x - y).max() > ZERO)


def emit_transform(matrix: Matrix) -> Emit:
    """Return the emitter of ``f(source, row_bytes, target, product_bytes)``: `M d Mᵀ`."""
    products, extent = matrix.shape

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        source, row_bytes, target, product_bytes = arguments
        columns = []
        for x in range(extent):
            rows = [
                load(
                    builder,
                    shift(
                        builder,
                        builder.add(source, builder.mul(row_bytes, integer(y))),
                        x * BLOCK,
                    ),
                )
                for y in range(extent)
            ]
            columns.append(apply_rows(builder, matrix, rows))
        for i in range(products):
            transformed = apply_rows(builder, matrix, [column[i] for column in columns])
            for j, value in enumerate(transformed):
                number = integer(i * products + j)
                store(builder, value, builder.add(target, builder.mul(product_bytes, number)))

    return emit


def emit_output_transform(filtering: Filtering) -> Emit:
    """Return the emitter of the way back, with bias, leaky slope and an optional residual.

    ``f(source, product_bytes, target, row_bytes, bias, residual, residual_row_bytes, slope)``; the
    residual's address is 0 for none.
    """

    def emit(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
        source, product_bytes, target, row_bytes, bias, residual, residual_bytes, slope = arguments
        columns = []
        for j in range(filtering.products):
            numbers = [integer(i * filtering.products + j) for i in range(filtering.products)]
            sums = [
                load(builder, builder.add(source, builder.mul(product_bytes, n))) for n in numbers
            ]
            columns.append(apply_columns(builder, filtering.outputs, sums))
        biases, slopes = load(builder, bias), splat(builder, slope)
        pixels = []
        for i in range(filtering.m):
            row = apply_columns(builder, filtering.outputs, [column[i] for column in columns])
            pixels += [leaky(builder, builder.fadd(v, biases), slopes) for v in row]

        def write(values: Sequence[Any]) -> None:
            for i in range(filtering.m):
                line = builder.add(target, builder.mul(row_bytes, integer(i)))
                for x in range(filtering.m):
                    store(builder, values[i * filtering.m + x], shift(builder, line, x * BLOCK))

        def add_residual() -> list[Any]:
            summed = []
            for i in range(filtering.m):
                line = builder.add(residual, builder.mul(residual_bytes, integer(i)))
                for x in range(filtering.m):
                    other = load(builder, shift(builder, line, x * BLOCK))
                    summed.append(builder.fadd(pixels[i * filtering.m + x], other))
            return summed

        with builder.if_else(builder.icmp_signed("==", residual, integer(0))) as (plain, added):
            with plain:
                write(pixels)
            with added:
                write(add_residual())

    return emit


def _kernels(name: str, symbol: str) -> tuple[Any, Any]:
    filtering = FILTERINGS[name]
    return (
        kernel(f"tinyyolo3_inputs_{symbol}", emit_transform(filtering.inputs), 4),
        kernel(f"tinyyolo3_outputs_{symbol}", emit_output_transform(filtering), 7, 1),
    )


_inputs_4, _outputs_4 = _kernels("F(4,3)", "4")
_inputs_3, _outputs_3 = _kernels("F(3,3)", "3")
_inputs_4_2, _outputs_4_2 = _kernels("F(4,3)/2", "4_2")
_inputs_3_2, _outputs_3_2 = _kernels("F(3,3)/2", "3_2")


@code_pointer(4)
def _input_4(source: int, row: int, target: int, product: int) -> None:
    _inputs_4(source, row, target, product)


@code_pointer(4)
def _input_3(source: int, row: int, target: int, product: int) -> None:
    _inputs_3(source, row, target, product)


@code_pointer(4)
def _input_4_2(source: int, row: int, target: int, product: int) -> None:
    _inputs_4_2(source, row, target, product)


@code_pointer(4)
def _input_3_2(source: int, row: int, target: int, product: int) -> None:
    _inputs_3_2(source, row, target, product)


@code_pointer(7, 1)
def _output_4(
    source: int,
    product: int,
    target: int,
    row: int,
    bias: int,
    residual: int,
    residual_row: int,
    slope: float,
) -> None:
    _outputs_4(source, product, target, row, bias, residual, residual_row, slope)


@code_pointer(7, 1)
def _output_3(
    source: int,
    product: int,
    target: int,
    row: int,
    bias: int,
    residual: int,
    residual_row: int,
    slope: float,
) -> None:
    _outputs_3(source, product, target, row, bias, residual, residual_row, slope)


@code_pointer(7, 1)
def _output_4_2(
    source: int,
    product: int,
    target: int,
    row: int,
    bias: int,
    residual: int,
    residual_row: int,
    slope: float,
) -> None:
    _outputs_4_2(source, product, target, row, bias, residual, residual_row, slope)


@code_pointer(7, 1)
def _output_3_2(
    source: int,
    product: int,
    target: int,
    row: int,
    bias: int,
    residual: int,
    residual_row: int,
    slope: float,
) -> None:
    _outputs_3_2(source, product, target, row, bias, residual, residual_row, slope)


#: Input and output transform of each filtering.
TRANSFORMS: dict[str, tuple[CodePointer, CodePointer]] = {
    "F(4,3)": (_input_4, _output_4),
    "F(3,3)": (_input_3, _output_3),
    "F(4,3)/2": (_input_4_2, _output_4_2),
    "F(3,3)/2": (_input_3_2, _output_3_2),
}
