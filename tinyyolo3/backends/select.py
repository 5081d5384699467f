"""Which device, and which backend, a caller gets for ``device=`` and ``backend=``."""

import os
import warnings
from functools import cache
from importlib.util import find_spec

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.table import Backend
from tinyyolo3.cuda.target import Target
from tinyyolo3.errors import BackendError, DeviceWarning, InputError
from tinyyolo3.policy import VARIABLE, compile_policy

BACKENDS = {"cpu": CPU, "reference": REFERENCE}
DEVICES = ("auto", "cpu", "cuda")

#: Values of ``CUDA_VISIBLE_DEVICES`` by which a user hides all GPUs from a process.
HIDDEN = ("", "-1")


def select_target(
    device: str = "auto", *, cpu_only: str | None = None, gpu_only: str | None = None
) -> Target | None:
    """Return the GPU that is to run a network, or None for the CPU.

    With "auto" the CPU is chosen where no GPU can be used. If CuPy is installed, so that one was
    meant to be, a `DeviceWarning` says why, once for a process.

    Args:
        device: one of `DEVICES`.
        cpu_only: what else the caller asks for that the CPU alone can do, as messages say it.
        gpu_only: the same for a GPU, which "auto" then has to find.

    Raises:
        InputError: `device` is none of the known.
        BackendError: a GPU is wanted, and there is none that can be used; or `cpu_only` or
            `gpu_only` stand against the device, or each other.
    """
    if device not in DEVICES:
        raise InputError(f"device={device!r} is unknown; known are {', '.join(DEVICES)}")
    if cpu_only is not None and gpu_only is not None:
        raise BackendError(f"{gpu_only} belongs to device='cuda', {cpu_only} to device='cpu'")
    if device == "cpu" and gpu_only is not None:
        raise BackendError(f"device='cpu': {gpu_only} belongs to device='cuda'")
    if device == "cpu":
        return None
    if device == "auto" and gpu_only is not None:
        try:
            return _open_cuda()
        except BackendError as problem:
            raise BackendError(f"{gpu_only} needs a GPU: {problem}") from problem
    if device == "cuda":
        if cpu_only is not None:
            raise BackendError(f"device='cuda': {cpu_only} belongs to device='cpu'")
        try:
            return _open_cuda()
        except BackendError as problem:
            raise BackendError(f"device='cuda': {problem}") from problem
    if cpu_only is not None or os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        return None
    if find_spec("cupy") is None:
        return None
    try:
        return _open_cuda()
    except BackendError as problem:
        _warn_once(f"device='auto' means the CPU here: {problem}")
        return None


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, DeviceWarning, stacklevel=4)


def _open_cuda() -> Target:
    from tinyyolo3.cuda.gpu import open_cuda

    return open_cuda()


def select_backend(backend: str | None = None) -> Backend:
    """Return the CPU's backend, or the one named.

    Raises:
        InputError: `backend` is none of the known.
        BackendError: compiling is forbidden, and the backend is compiled.
    """
    if backend is not None and backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; known are {', '.join(BACKENDS)}")
    if compile_policy() == "never":
        if backend == "cpu":
            raise BackendError(f"backend='cpu' is compiled code, and {VARIABLE}=never forbids that")
        return REFERENCE
    return BACKENDS[backend or "cpu"]
