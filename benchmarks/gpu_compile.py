"""Compiling kernels ahead, on all cores at once: NVRTC takes a second for each."""

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from gpu_models import BATCHES
from peers.base import Model
from tinyyolo3.cuda.cubins import find_cubin
from tinyyolo3.cuda.sources import kernel_folder, read_source
from tinyyolo3.cuda.target import Target
from tinyyolo3.darknet.config import read_config
from tinyyolo3.engine.cuda.choose import convolution_operation
from tinyyolo3.engine.cuda.convolutions import convolution_algorithm, convolution_tile
from tinyyolo3.layers.convolution.cuda_algorithms import gpu_of
from tinyyolo3.layers.convolution.cuda_mma_tiles import PRECISIONS
from tinyyolo3.layers.convolution.cuda_tiles import ODD
from tinyyolo3.layers.convolution.cuda_winograd import winograd_instance
from tinyyolo3.network.build import build_graph
from tinyyolo3.network.specs import Convolutional


def compile_ahead(target: Target, kernels: Collection[tuple[str, str]]) -> dict[str, float]:
    """Compile kernels that are not kept yet, if the target is a GPU.

    Args:
        target: what to compile for.
        kernels: pairs of a file and the name of a template's instance in it.

    Returns:
        How many kernels, and the seconds that it took.
    """
    gpu: Any = getattr(target, "gpu", None)
    start = time.monotonic()
    if gpu is not None and kernels:
        # A fork of a process that uses the GPU would not know what to do with it.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            for future in [pool.submit(_compile, *kernel, gpu.architecture) for kernel in kernels]:
                future.result()
    return {"kernels": len(kernels), "s": round(time.monotonic() - start, 1)}


def network_kernels(target: Target, model: Model) -> set[tuple[str, str]]:
    """Return the convolutions that a network launches in any precision, each with its file."""
    graph = build_graph(read_config(model.cfg), width=model.side, height=model.side)
    heads = {head.inputs[0] for head in graph.heads}
    return {
        kernel
        for layer in graph.layers
        if isinstance(layer, Convolutional) and convolution_operation(layer) == "convolution"
        for batch in BATCHES
        for kernel in _convolution_kernels(target, layer, batch, layer.index in heads)
    }


def _convolution_kernels(
    target: Target, layer: Convolutional, batch: int, head: bool
) -> Iterator[tuple[str, str]]:
    algorithm = convolution_algorithm(layer, batch, gpu_of(target))
    if algorithm.outputs:
        yield "convolution_winograd.cu", winograd_instance(algorithm.tile)
    else:
        yield "convolution_blocked.cu", algorithm.tile.instance(1 if algorithm.tile == ODD else 4)
    for precision in PRECISIONS.values():
        tile = convolution_tile(layer, batch, precision, gpu_of(target))
        output = np.empty(0, np.float32 if head else precision.dtype)
        yield tile.file, tile.instance(precision, output, layer.activation)


def _compile(file: str, name: str, architecture: str) -> None:
    find_cubin(read_source(kernel_folder() / file), [name], architecture)
