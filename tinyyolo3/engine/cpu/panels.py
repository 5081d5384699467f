"""The matrix kernel with its epilogue, compiled for each kind of panel, tile and arithmetic.

All take ``(a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
residual_stride, rows, far, slope)``, see `microkernel.with_epilogue`. A step's record names the one
that computes it (`PANEL_KERNELS`), so that the jobs know none of them. Numba keeps no compiled code
of functions that are made by functions; hence the repetition.
"""

from typing import Any

from tinyyolo3.engine.cpu.arithmetic import (
    BFLOAT16,
    FLOAT32,
    FLOAT32_PAIRS,
    HAS_BFLOAT16,
    Arithmetic,
)
from tinyyolo3.engine.cpu.microkernel import PANEL, ROWS, SHORT_ROWS, with_epilogue
from tinyyolo3.engine.cpu.program import code_pointer
from tinyyolo3.engine.cpu.vectors import kernel

#: Whether there is a lower tile; where there is none, its kernels are not compiled.
HAS_SHORT = SHORT_ROWS < ROWS


def _kernel(vectors: int, arithmetic: Arithmetic = FLOAT32, height: int = ROWS) -> Any:
    name = "_".join(filter(None, ("tinyyolo3_multiply", arithmetic.name, f"{vectors}x{height}")))
    return kernel(name, with_epilogue(vectors, arithmetic, height), 14, 1)


#: Of full panels, and of the last one of an odd number of vectors.
multiply_panel, multiply_half_panel = _kernel(PANEL), _kernel(1)
multiply_short_panel = _kernel(PANEL, height=SHORT_ROWS)
multiply_short_half_panel = _kernel(1, height=SHORT_ROWS)
#: At most half a vector of filters, two channels in a step. What follows upon these short sums
#: takes as long as they do; of lower tiles the processor has two at work at once: 94 % of the time.
multiply_pairs = _kernel(1, FLOAT32_PAIRS, SHORT_ROWS)
#: Inputs and weights in bfloat16, two channels in a step.
multiply_panel_bf16, multiply_half_panel_bf16 = _kernel(PANEL, BFLOAT16), _kernel(1, BFLOAT16)
multiply_short_panel_bf16 = _kernel(PANEL, BFLOAT16, SHORT_ROWS)
multiply_short_half_panel_bf16 = _kernel(1, BFLOAT16, SHORT_ROWS)


@code_pointer(14, 1)
def _panel(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_panel(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1)
def _half_panel(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_half_panel(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_SHORT)
def _short_panel(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_short_panel(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_SHORT)
def _short_half_panel(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_short_half_panel(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1)
def _pairs(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_pairs(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_BFLOAT16)
def _panel_bf16(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_panel_bf16(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_BFLOAT16)
def _half_panel_bf16(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_half_panel_bf16(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_BFLOAT16 and HAS_SHORT)
def _short_panel_bf16(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_short_panel_bf16(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


@code_pointer(14, 1, supported=HAS_BFLOAT16 and HAS_SHORT)
def _short_half_panel_bf16(
    a: int, outer: int, outer_stride: int, inner: int, inner_stride: int, steps: int, b: int,
    c: int, c_stride: int, bias: int, residual: int, residual_stride: int, rows: int, far: int,
    slope: float,
) -> None:  # fmt: skip
    multiply_short_half_panel_bf16(
        a, outer, outer_stride, inner, inner_stride, steps, b, c, c_stride, bias, residual,
        residual_stride, rows, far, slope,
    )  # fmt: skip


#: The kernels for a full and for a half panel, by the name of their arithmetic and a tile's rows.
#: Where there are no lower tiles the later entries replace the earlier.
PANEL_KERNELS = {
    (FLOAT32.name, SHORT_ROWS): (_short_panel, _short_half_panel),
    (FLOAT32.name, ROWS): (_panel, _half_panel),
    (FLOAT32_PAIRS.name, SHORT_ROWS): (_pairs, _pairs),
    (BFLOAT16.name, SHORT_ROWS): (_short_panel_bf16, _short_half_panel_bf16),
    (BFLOAT16.name, ROWS): (_panel_bf16, _half_panel_bf16),
}
