"""A kernel's parameters, read off its source.

Neither a GPU's driver nor the host build checks what it is given: CuPy passes a Python `int` as
eight bytes, whatever the kernel declares, and any array's address. So the source is asked. What is
understood: pointers, C's numbers, and structs by value; templates by putting in their types.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyyolo3.cuda.cpp import NUMBERS, balanced, number_name, split_list, strip_comments
from tinyyolo3.errors import KernelError

_WORD_AND_BRACKET = re.compile(r"\s*(\w+)\s*(\(?)")
_BEFORE = re.compile(r'(?:\b(?:static|inline|void)|\bextern\s*"")\s*$')
_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?")
_DECLARATION = re.compile(r"(.*?)(\w+)\s*(\[[^\]]*\])?$", re.DOTALL)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes:
        name: as declared.
        type: the type's shortest name; of a pointer, that of what it points to.
        is_pointer: an array is wanted.
        is_const: the kernel only reads what the pointer points to.
        dtype: NumPy's type of the number or struct, or of what the pointer points to; None where
            the source could not be read so far.
    """

    name: str
    type: str
    is_pointer: bool
    is_const: bool
    dtype: "np.dtype[Any] | None"

    @property
    def bytes(self) -> int | None:
        """How many the argument takes; None for a struct that could not be read."""
        if self.is_pointer:
            return 8
        return None if self.dtype is None else self.dtype.itemsize


@dataclass(frozen=True)
class Signature:
    """One kernel as its source declares it.

    Attributes:
        name: as asked for, with template arguments if it has any.
        parameters: in order.
        max_threads: the number in `__launch_bounds__`; None if there is none that can be read.
    """

    name: str
    parameters: tuple[Parameter, ...]
    max_threads: int | None


@dataclass(frozen=True)
class _Declaration:
    template: tuple[str, ...]  # "int N", "class T = float"
    parameters: tuple[str, ...]
    bounds: str


def kernel_names(text: str) -> tuple[list[str], list[str]]:
    """Return the names of the plain kernels that a source defines, and of the templates."""
    found = _declarations(strip_comments(text))
    plain = [name for name, declared in found.items() if not declared.template]
    return plain, [name for name, declared in found.items() if declared.template]


def read_signature(text: str, name: str, *, file: str = "code.cu") -> Signature:
    """Return a kernel's parameters.

    Args:
        text: the source, with the headers that define its structs.
        name: the kernel, with template arguments if it is one: "copy<float, 4>".
        file: for messages.

    Raises:
        KernelError: there is no such kernel, or its parameters cannot be understood.
    """
    code = strip_comments(text)
    base, _, arguments = name.partition("<")
    declarations = _declarations(code)
    declared = declarations.get(base.strip())
    if declared is None:
        there = ", ".join(declarations) or "none"
        raise KernelError(f"{file}: no kernel {base.strip()!r}; kernels here: {there}")
    given = split_list(arguments.strip().removesuffix(">")) if arguments else []
    types = _template_types(declared.template, given, f"{file}: {name}")
    parameters = tuple(_parameter(code, p, types, f"{file}: {name}") for p in declared.parameters)
    bounds = split_list(declared.bounds)
    most = _constant(code, bounds[0], types) if bounds else None
    return Signature(name, parameters, most)


def _declarations(code: str) -> dict[str, _Declaration]:
    """Return all kernels in a source without comments, by name."""
    found = {}
    for match in re.finditer(r"\b__global__\b", code):
        position, bounds = match.end(), ""
        while word := _WORD_AND_BRACKET.match(code, position):
            position = word.end()
            if not word[2]:  # void, static
                continue
            end = balanced(code, position - 1)
            inside = code[position : end - 1]
            if not word[1].startswith("__"):  # no attribute: the kernel's name
                template = _template_before(code, match.start())
                found[word[1]] = _Declaration(template, tuple(split_list(inside)), bounds)
                break
            bounds = inside if word[1] == "__launch_bounds__" else bounds
            position = end
    return found


def _template_before(code: str, position: int) -> tuple[str, ...]:
    """Return the parameters of the template header that ends before `position`."""
    head = code[:position].rstrip()
    while word := _BEFORE.search(head):
        head = head[: word.start()].rstrip()
    if not head.endswith(">"):
        return ()
    start = head.rfind("template")
    return tuple(split_list(head[head.index("<", start) + 1 : -1])) if start >= 0 else ()


def _template_types(template: tuple[str, ...], given: list[str], place: str) -> dict[str, str]:
    """Return what stands for each template parameter."""
    found: dict[str, str] = {}
    for index, parameter in enumerate(template):
        left, _, default = parameter.partition("=")
        default = default.strip()  # perhaps what another parameter is
        value = given[index] if index < len(given) else found.get(default, default)
        if not value:
            raise KernelError(f"{place}: {len(template)} template arguments expected")
        found[left.split()[-1]] = value
    if len(given) > len(template):
        raise KernelError(f"{place}: {len(template)} template arguments expected")
    return found


def _parameter(code: str, text: str, types: dict[str, str], place: str) -> Parameter:
    declared = _DECLARATION.match(text.strip())
    if declared is None or "&" in text or not declared[1].strip():
        raise KernelError(f"{place}: the parameter {text.strip()!r} is not understood")
    left, name, array = declared[1], declared[2], declared[3]
    left = re.sub(r"\b\w+\b", lambda word: types.get(word[0], word[0]), left)
    pointers = left.count("*") + bool(array)
    pointee = left.partition("*")[0]
    type_name = number_name(pointee.split())
    if pointers > 1:
        type_name = f"{type_name}*"
    is_const = bool(pointers) and re.search(r"\bconst\b", pointee) is not None
    dtype = NUMBERS.get(type_name) or (None if pointers else _struct_dtype(code, type_name))
    return Parameter(name, type_name, bool(pointers), is_const, dtype)


def _struct_dtype(code: str, name: str) -> "np.dtype[Any] | None":
    """Return a struct of numbers, of arrays and of such structs; None for any other type."""
    head = re.search(rf"\bstruct\s+{re.escape(name)}\s*(\{{)", code)
    if head is None:
        return None
    body = code[head.end() : balanced(code, head.start(1)) - 1]
    fields: list[Any] = []
    for declaration in filter(None, (part.strip() for part in body.split(";"))):
        first, *others = split_list(declaration)
        left, _, first_name = first.rpartition(" ")
        type_name = number_name(left.split())
        dtype = NUMBERS.get(type_name) or _struct_dtype(code, type_name)
        names = [_FIELD.fullmatch(text) for text in (first_name, *others)]
        if dtype is None or not all(names):
            return None
        fields += [(n[1], dtype, *([int(n[2])] if n[2] else [])) for n in names if n]
    return np.dtype(fields, align=True)


def _constant(code: str, text: str, types: dict[str, str]) -> int | None:
    """Return a product of whole numbers, written out or named; None for anything else."""
    product = 1
    for factor in text.split("*"):
        name = types.get(factor.strip(), factor.strip())
        if not name.isdigit():
            declared = rf"\bconst(?:expr)?\s+(?:int|unsigned)\b[^;]*?\b{re.escape(name)}"
            named = re.search(declared + r"\s*=\s*(\d+)\s*[,;]", code)
            if named is None:
                return None
            name = named[1]
        product *= int(name)
    return product
