"""OpenVINO on its CPU plug-in."""

import openvino

from peers.base import Engine, FloatArray, Model, existing_onnx

#: What the plug-in calls a precision, and what this project does.
PRECISIONS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def load(model: Model, threads: int, precision: str | None = None) -> Engine:
    """Load the ONNX file, tuned for latency.

    Args:
        model: the network.
        threads: how many threads to use.
        precision: the plug-in's name of the inference precision; None for its default, which is
            bfloat16 where the processor computes in it.

    Raises:
        UnavailableError: there is no ONNX file.
    """
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino.Core().compile_model(existing_onnx(model), "CPU", settings)
    request = compiled.create_infer_request()
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def forward(blob: FloatArray) -> list[FloatArray]:
        request.infer({0: blob})
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return Engine(openvino.__version__.partition("-")[0], PRECISIONS[used], forward)
