"""NVRTC, NVIDIA's run-time compiler: a kernel's text in, a cubin out; no GPU or driver is needed.

It is called directly and not through CuPy, whose compiler adds ``-ftz=true`` (subnormal numbers
become zero) and leaves headers out of its cache's key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinyyolo3.cuda.messages import first_error
from tinyyolo3.cuda.sources import Source
from tinyyolo3.errors import BackendError, KernelError

#: What every kernel is compiled with. There is no -use_fast_math: expf stays expf.
OPTIONS = ("-std=c++17", "-lineinfo", "-Xptxas=-v")
#: Architectures that have instructions of their own, which no later one is promised to have.
OWN_INSTRUCTIONS = {"sm_90": "sm_90a"}
#: What installs the compiler.
INSTALL = "pip install 'tinyyolo3[cuda]'"


@dataclass(frozen=True)
class Compiled:
    """What NVRTC made.

    Attributes:
        cubin: an ELF file for one architecture.
        symbols: each kernel's name in it, by the name it was asked for.
        log: the compiler's, with registers and spills of each kernel.
    """

    cubin: bytes
    symbols: dict[str, str]
    log: str


def nvrtc_version() -> tuple[int, int]:
    """Return the compiler's version, such as (13, 0).

    Raises:
        BackendError: it is not installed.
    """
    nvrtc = _load()
    major, minor = _call(nvrtc, nvrtc.nvrtcVersion())
    return int(major), int(minor)


def supported_architectures() -> list[int]:
    """Return the architectures that the installed compiler knows, such as 75 for sm_75."""
    nvrtc = _load()
    (found,) = _call(nvrtc, nvrtc.nvrtcGetSupportedArchs())
    return [int(number) for number in found]


def options_for(source: Source, architecture: str, defines: Mapping[str, float]) -> tuple[str, ...]:
    """Return everything that NVRTC is told beside the text."""
    named = tuple(f"-D{name}={value}" for name, value in defines.items())
    own = OWN_INSTRUCTIONS.get(architecture, architecture)
    return (f"-arch={own}", *OPTIONS, *named, *source.options)


def compile_cubin(
    source: Source, names: Sequence[str], architecture: str, defines: Mapping[str, float]
) -> Compiled:
    """Compile a kernel file.

    Args:
        source: the text with its headers.
        names: the kernels that are wanted, with their template arguments if they have any.
        architecture: such as "sm_80".
        defines: macros.

    Raises:
        BackendError: the compiler is missing, or too old to know the architecture.
        KernelError: the text does not compile; the compiler's whole answer is in its notes.
    """
    nvrtc = _load()
    check_architecture(architecture)
    program = _new_program(nvrtc, source, names)
    try:
        options = [option.encode() for option in options_for(source, architecture, defines)]
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
        log = _content(nvrtc, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        answer = log.decode(errors="replace").strip("\0 \n")
        if status == nvrtc.nvrtcResult.NVRTC_ERROR_COMPILATION:
            raise _compile_error(source, answer)
        _call(nvrtc, (status,))
        symbols = {
            name: _call(nvrtc, nvrtc.nvrtcGetLoweredName(program, name.encode()))[0].decode()
            for name in names
        }
        cubin = _content(nvrtc, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
        return Compiled(cubin, symbols, answer)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def check_architecture(architecture: str) -> None:
    """Refuse an architecture that the installed compiler does not know.

    Raises:
        BackendError: it is not installed, or too old.
    """
    known = supported_architectures()
    if int("".join(filter(str.isdigit, architecture))) not in known:
        version = ".".join(map(str, nvrtc_version()))
        raise BackendError(
            f"NVRTC {version} knows sm_{known[0]} to sm_{known[-1]}, this GPU is {architecture}: "
            "pip install -U nvidia-cuda-nvrtc"
        )


def _new_program(nvrtc: Any, source: Source, names: Sequence[str]) -> Any:
    headers = source.headers
    texts = [text.encode() for text in headers.values()]
    included = [name.encode() for name in headers]
    created = nvrtc.nvrtcCreateProgram(
        source.text.encode(), source.name.encode(), len(headers), texts, included
    )
    (program,) = _call(nvrtc, created)
    for name in names:
        _call(nvrtc, nvrtc.nvrtcAddNameExpression(program, name.encode()))
    return program


def _compile_error(source: Source, answer: str) -> KernelError:
    error = KernelError(first_error(answer) or f"{source.name}: NVRTC gives no reason")
    error.add_note(answer)
    return error


def _load() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()  # the library itself is loaded by the first call
    except ImportError:
        raise BackendError(f"cuda-bindings is not installed: {INSTALL}") from None
    except Exception as problem:  # one of cuda.pathfinder's own
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else "no reason given"
        raise BackendError(f"NVRTC cannot be loaded ({reason}): {INSTALL}") from None
    return nvrtc


def _call(nvrtc: Any, answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a function of NVRTC returned beside its status, which must be success."""
    status, *values = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise BackendError(f"NVRTC failed: {status.name}")
    return tuple(values)


def _content(nvrtc: Any, measure: Any, fill: Any, program: Any) -> bytes:
    """Return what one function measures and the other writes."""
    (size,) = _call(nvrtc, measure(program))
    # The library writes into an immutable object, so it must be one that nobody else has: Python
    # keeps only one b" ", but makes a new one of zeros each time.
    buffer = bytes(size)
    _call(nvrtc, fill(program, buffer))
    return buffer
