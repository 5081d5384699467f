"""ONNX Runtime on its CPU provider."""

import onnxruntime

from peers.base import Engine, FloatArray, Model, existing_onnx


def load(model: Model, threads: int) -> Engine:
    """Load the ONNX file with all of the library's default optimisations.

    Raises:
        UnavailableError: there is no ONNX file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        existing_onnx(model), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def forward(blob: FloatArray) -> list[FloatArray]:
        return list(session.run(None, {name: blob}))

    return Engine(onnxruntime.__version__, "float32", forward)
