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
    DeviceWarning,
    ImageError,
    InputError,
    OutputError,
    TinyYoloError,
    WeightsError,
    WeightsWarning,
)

if TYPE_CHECKING:
    from tinyyolo3.detections import Detection, Detections
    from tinyyolo3.detector import Detector
    from tinyyolo3.engine.cpu.readiness import warmup
    from tinyyolo3.loading import load

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "ConfigError",
    "Detection",
    "Detections",
    "Detector",
    "DeviceWarning",
    "ImageError",
    "InputError",
    "OutputError",
    "TinyYoloError",
    "WeightsError",
    "WeightsWarning",
    "__version__",
    "load",
    "warmup",
]

#: Where the names stand that are imported when first asked for.
_HOMES = {
    "Detection": "tinyyolo3.detections",
    "Detections": "tinyyolo3.detections",
    "Detector": "tinyyolo3.detector",
    "load": "tinyyolo3.loading",
    "warmup": "tinyyolo3.engine.cpu.readiness",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
