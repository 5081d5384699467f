"""The planned engine on a target of CUDA kernels: what is chosen, packed, launched, captured."""
