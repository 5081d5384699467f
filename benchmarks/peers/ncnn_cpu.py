"""ncnn on the processor."""

import ncnn
import numpy as np

from peers.base import Engine, FloatArray, Model


def load(model: Model, threads: int) -> Engine:
    """Load ncnn's own files, everything in float32: no half-width storage or arithmetic.

    The exporter names the outputs ``output_0``, ``output_1``, … in order.
    """
    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_fp16_packed = False
    network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = False
    network.opt.use_bf16_storage = False
    network.load_param(str(model.ncnn_param))
    network.load_model(str(model.ncnn_bin))
    names = sorted(network.output_names(), key=lambda name: int(name.removeprefix("output_")))

    def forward(blob: FloatArray) -> list[FloatArray]:
        extractor = network.create_extractor()
        extractor.input("input", ncnn.Mat(blob[0]))
        return [np.array(extractor.extract(name)[1])[np.newaxis] for name in names]

    return Engine(ncnn.__version__, "float32", forward)
