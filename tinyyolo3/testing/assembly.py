"""The matrix kernel's machine code, for any processor that LLVM knows.

Whether the sums stay in registers can be read off the assembly of the innermost loop, and so also
for processors that are not at hand. The code generators take the width of vectors from the module
`tinyyolo3.engine.cpu.vectors`, which fixes it when it is imported; so each processor needs a
process of its own: ``python -m tinyyolo3.testing.assembly TRIPLE CPU LANES ROWS SHORT_ROWS [bf16]``
prints, as JSON, for each kernel the lines of its innermost loop.
"""

import json
import re
import sys

import llvmlite.binding as llvm
from llvmlite import ir

from tinyyolo3.engine.cpu import target

#: The matrix kernels, and those of whole rows of depthwise convolutions.
KERNELS = (
    *("raw", "panel", "half panel", "short panel", "short half panel", "short half panel pairs"),
    *("depthwise row 3", "depthwise row 3/2", "depthwise row 5"),
)


def emit_kernel(name: str) -> ir.Module:
    """Return a module with one kernel of `KERNELS`."""
    from tinyyolo3.engine.cpu import algorithms, depthwise_rows, microkernel, vectors

    numbers, short = algorithms.arithmetic_of(name), microkernel.SHORT_ROWS
    plain = name.removesuffix(f" {numbers.name}")
    emit, integers, floats = {
        "raw": (microkernel.emit_raw, 10, 0),
        "panel": (microkernel.with_epilogue(microkernel.PANEL, numbers), 14, 1),
        "half panel": (microkernel.with_epilogue(1, numbers), 14, 1),
        "short panel": (microkernel.with_epilogue(microkernel.PANEL, numbers, short), 14, 1),
        "short half panel": (microkernel.with_epilogue(1, numbers, short), 14, 1),
        "depthwise row 3": (depthwise_rows.emit_row(3, 1), 10, 1),
        "depthwise row 3/2": (depthwise_rows.emit_row(3, 2), 10, 1),
        "depthwise row 5": (depthwise_rows.emit_row(5, 1), 10, 1),
    }[plain]
    module = ir.Module()
    kinds = [vectors.INT64] * integers + [vectors.FLOAT] * floats
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    emit(builder, function.args)
    builder.ret_void()
    return module


def compile_for(module: ir.Module, triple: str, cpu: str) -> str:
    """Return a module's assembly, optimized as Numba does."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.triple, parsed.data_layout = triple, str(machine.target_data)
    parsed.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(parsed, builder)
    return str(machine.emit_assembly(parsed))


def innermost_loop(assembly: str) -> list[str]:
    """Return the instructions of the innermost loop: from its label to the jump back to it.

    Of all backward jumps it is the one with the least between it and its label that multiplies.
    """
    lines = [line.strip() for line in assembly.splitlines()]
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.?\w+:", line)}
    loops = []
    for i, line in enumerate(lines):
        jump = re.match(r"(?:j\w+|b\.\w+|cbn?z\s+\w+,|b)\s+(\.?\w+)$", line)
        if jump and labels.get(jump[1], i) < i:
            loops.append(lines[labels[jump[1]] : i])
    multiplying = [loop for loop in loops if any(is_multiply_add(line) for line in loop)]
    return min(multiplying, key=len)


def is_multiply_add(line: str) -> bool:
    """Return whether an instruction multiplies and adds."""
    return line.startswith(("vfmadd", "fmla", "vdpbf16ps"))


def main(triple: str, cpu: str, lanes: str, rows: str, short_rows: str, *suffixes: str) -> None:
    """Print the innermost loop of every kernel."""
    bf16 = "bf16" in suffixes
    machine = target.Target(int(lanes), int(rows), int(short_rows), fused=True, bf16=bf16)
    target.__dict__["current_target"] = lambda: machine
    names = [*KERNELS, *(f"{name} bf16" for name in KERNELS[1:5] if machine.bf16)]
    found = {name: innermost_loop(compile_for(emit_kernel(name), triple, cpu)) for name in names}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
