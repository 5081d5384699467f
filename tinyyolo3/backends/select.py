"""Which backend a caller gets for ``device=`` and ``backend=``."""

from tinyyolo3.backends.cpu import CPU
from tinyyolo3.backends.reference import REFERENCE
from tinyyolo3.backends.table import Backend
from tinyyolo3.errors import BackendError, InputError
from tinyyolo3.policy import VARIABLE, compile_policy

BACKENDS = {"cpu": CPU, "reference": REFERENCE}
DEVICES = ("auto", "cpu", "cuda")


def select_backend(device: str = "auto", backend: str | None = None) -> Backend:
    """Return the backend for a device, or the one named.

    Raises:
        InputError: `device` or `backend` is none of the known.
        BackendError: the device has no backend in this version, or compiling is forbidden.
    """
    if device not in DEVICES:
        raise InputError(f"device={device!r} is unknown; known are {', '.join(DEVICES)}")
    if backend is not None and backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; known are {', '.join(BACKENDS)}")
    if device == "cuda":
        raise BackendError(
            "device='cuda': this version has no CUDA backend yet; use device='cpu' or 'auto'"
        )
    if compile_policy() == "never":
        if backend == "cpu":
            raise BackendError(f"backend='cpu' is compiled code, and {VARIABLE}=never forbids that")
        return REFERENCE
    return BACKENDS[backend or "cpu"]
