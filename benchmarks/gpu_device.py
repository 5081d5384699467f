"""Stage 1: what the figures were measured on, and with which versions."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpu_context import Context, Record

#: What nvidia-smi is asked for, and what the results call it. Clocks are read as they are found.
SMI = {
    "name": "name",
    "driver_version": "driver",
    "memory.total": "memory_mb",
    "clocks.sm": "sm_clock_mhz",
    "clocks.max.sm": "sm_clock_max_mhz",
    "clocks.mem": "memory_clock_mhz",
    "temperature.gpu": "temperature_c",
    "power.limit": "power_limit_w",
    "compute_mode": "compute_mode",
}
PACKAGES = ("numpy", "numba", "cupy-cuda13x", "cupy-cuda12x", "cuda-bindings", "torch", "triton")


def measure(context: Context, part: str, record: Record) -> None:  # noqa: ARG001 (has one part)
    """Describe the machine."""
    record("processor", platform.processor() or platform.machine())
    record("commit", context.commit)
    record("versions", {"python": platform.python_version(), **package_versions()})
    record("g++", first_line(["g++", "--version"]))
    if context.target != "cuda":
        return
    record("smi", ask_smi())
    for name, value in ask_runtime().items():
        record(name, value)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def first_line(command: list[str]) -> str:
    """Return the first line of what a program prints, or why it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)
    lines = [line for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else ""


def ask_smi() -> dict[str, str]:
    """Return what nvidia-smi tells about the first GPU."""
    query = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader,nounits"]
    values = [value.strip() for value in first_line(query).split(",")]
    if len(values) != len(SMI):
        return {"problem": ", ".join(values)}
    return dict(zip(SMI.values(), values, strict=True))


def ask_runtime() -> dict[str, Any]:
    """Return the GPU's properties and CUDA's versions as CuPy and NVRTC see them."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    name = properties["name"]
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "l2_bytes": int(properties["l2CacheSize"]),
        "shared_bytes_per_block": int(properties["sharedMemPerBlockOptin"]),
        "cuda_driver": int(cupy.cuda.runtime.driverGetVersion()),
        "cuda_runtime": int(cupy.cuda.runtime.runtimeGetVersion()),
        "nvrtc": nvrtc_version(),
    }


def nvrtc_version() -> str:
    """Return the version of the compiler that the kernels are built with."""
    try:
        from cuda.bindings import nvrtc
    except ImportError:
        return "cuda-bindings is not installed"
    status, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}" if not int(status) else str(status)
