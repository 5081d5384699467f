"""Public tools for testing layers and kernels: tolerances, oracles, strategies, networks.

`HostModule` runs CUDA kernels, anybody's, on the CPU, and raises `KernelError` for what it finds.
"""

from tinyyolo3.cuda.host_module import HostModule
from tinyyolo3.errors import KernelError

__all__ = ["HostModule", "KernelError"]
