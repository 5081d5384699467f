"""Public tools for testing layers and kernels: tolerances, oracles, strategies, networks."""
