"""Training on the CPU: forward and backward passes as programs of steps on blocked mini-batches."""

from tinyyolo3.train.cpu.propagation import CpuPropagation

__all__ = ["CpuPropagation"]
