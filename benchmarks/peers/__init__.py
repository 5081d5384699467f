"""The engines that are compared: one module for each library, one entry for each way of using it.

A peer's module imports its library at the top and has one function, ``load(model, threads,
**options)``, which returns a `peers.base.Engine`. It is imported only in the process that runs it,
so that no library is in another's memory or start-up time. A further way of running this project's
own engine is one more entry with the options that `tinyyolo3.load` takes for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One engine in one setting.

    Attributes:
        label: what tables call it.
        module: the file in this folder that loads it.
        options: what its ``load`` is given besides model and threads.
        own: whether it is this project's, and not a peer to be compared with.
        parity: whose batch-norm epsilon the engine uses when it reads the cfg itself.
    """

    label: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    own: bool = False
    parity: str = "alexeyab"


ENTRIES = {
    "tinyyolo3": Entry("tinyyolo3", "ours", own=True),
    "opencv": Entry("OpenCV", "opencv", parity="opencv"),
    "onnxruntime": Entry("ONNX Runtime", "onnx_runtime"),
    "openvino": Entry("OpenVINO", "openvino_cpu", {"precision": "f32"}),
    "ncnn": Entry("ncnn", "ncnn_cpu"),
    "torch": Entry("torch", "torch_cpu"),
    "torch-compile": Entry("torch.compile", "torch_cpu", {"compiled": True}),
    "tinyyolo3-low": Entry("tinyyolo3 low memory", "ours", {"memory": "low"}, own=True),
    "tinyyolo3-bf16": Entry("tinyyolo3 bf16", "ours", {"precision": "bf16"}, own=True),
    "openvino-default": Entry("OpenVINO default", "openvino_cpu"),
}
