"""tinyyolo3: a small, complete YOLOv3 engine on NumPy and Numba.

    detector = tinyyolo3.load("yolov3.cfg", "yolov3.weights", names="coco.names")
    for found in detector.detect("street.jpg"):
        print(found.name, found.confidence, found.xyxy)

The engine is imported when it is first asked for (PEP 562): NumPy and Numba take a third of a
second, which ``tinyyolo3 --version`` and a mistyped command need not wait for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tinyyolo3.errors import (
    BackendError,
    ConfigError,
    DataError,
    DeviceWarning,
    ImageError,
    InputError,
    OutputError,
    TinyYoloError,
    TrainingError,
    WeightsError,
    WeightsWarning,
)

if TYPE_CHECKING:
    from tinyyolo3 import anchors, evaluate, train
    from tinyyolo3.data.open import open_dataset
    from tinyyolo3.detections import Detection, Detections
    from tinyyolo3.detector import Detector
    from tinyyolo3.engine.cpu.readiness import warmup
    from tinyyolo3.loading import load

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "ConfigError",
    "DataError",
    "Detection",
    "Detections",
    "Detector",
    "DeviceWarning",
    "ImageError",
    "InputError",
    "OutputError",
    "TinyYoloError",
    "TrainingError",
    "WeightsError",
    "WeightsWarning",
    "__version__",
    "anchors",
    "evaluate",
    "load",
    "open_dataset",
    "train",
    "warmup",
]

#: Where the names stand that are imported when first asked for.
_HOMES = {
    "Detection": "tinyyolo3.detections",
    "Detections": "tinyyolo3.detections",
    "Detector": "tinyyolo3.detector",
    "load": "tinyyolo3.loading",
    "open_dataset": "tinyyolo3.data.open",
    "warmup": "tinyyolo3.engine.cpu.readiness",
}
#: Packages that are used by their own name, as ``tinyyolo3.evaluate.evaluate_coco``.
_ROOMS = frozenset({"anchors", "evaluate", "train"})


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")  # which also makes it an attribute
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
