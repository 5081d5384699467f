"""CUDA kernels: finding, compiling and launching them, on a GPU or, for checking, on the CPU."""
