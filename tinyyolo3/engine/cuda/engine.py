"""A network on a target of kernels: weights in its memory, programs for the sizes it is run at."""


class CudaEngine:
    """Runs networks on a target."""
