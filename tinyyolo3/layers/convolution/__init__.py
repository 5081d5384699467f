"""Convolution, a ladder from the definition to what runs.

`reference`: the definition, one kernel tap at a time, and `backward`: its gradients. `im2col`: the
same sums as one matrix product, for BLAS. `depthwise`: one channel at a time, for layers whose
groups are their channels.
`cuda_direct`, `cuda_tiled`, `cuda`, `cuda_depthwise`: the launchers of the kernels for a GPU.
docs/convolution-ladder.md is a guide through all of them.
"""
