"""The planned CPU engine: each idea (micro-kernel, Winograd, packing, threads) in one file."""
